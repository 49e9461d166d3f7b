"""The ASGI application of the simulated e-mail Worker."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from polaris_sim.control import control_routes
from polaris_sim.email_worker.pages import mail_page, mailbox
from polaris_sim.email_worker.wire import Refused
from polaris_sim.email_worker.worker import EmailWorkerSimulator, Mail
from polaris_sim.faults import FaultInjector


def create_app(simulator: EmailWorkerSimulator) -> ASGIApp:
    """``POST /send``, the mailbox pages and ``/_sim``, disturbed by the simulator's fault plan."""
    worker, config = _Endpoints(simulator), simulator.config
    routes = [
        Route("/send", worker.send, methods=["POST"]),
        Route("/", worker.mailbox, methods=["GET"]),
        Route("/mails/{number:int}", worker.mail, methods=["GET"]),
        Route("/_sim/mails", worker.list_mails, methods=["GET"]),
        Route("/_sim/mails", worker.clear, methods=["DELETE"]),
        *control_routes(config.clock, config.faults),
    ]
    return FaultInjector(Starlette(routes=routes), config.faults)


class _Endpoints:
    def __init__(self, simulator: EmailWorkerSimulator) -> None:
        self._simulator = simulator

    async def send(self, request: Request) -> Response:
        """Take a signed mail."""
        try:
            mail = self._simulator.accept(await request.body(), request.headers.get("x-polaris-sig"))
        except Refused as refusal:
            return JSONResponse({"error": refusal.error}, status_code=refusal.status)
        return JSONResponse({"ok": True, "id": str(mail.number)})

    async def mailbox(self, request: Request) -> Response:
        """All mails as a page."""
        return HTMLResponse(mailbox(self._simulator.mails))

    async def mail(self, request: Request) -> Response:
        """One mail as a page."""
        number, mails = int(request.path_params["number"]), self._simulator.mails
        if not 0 < number <= len(mails):
            return HTMLResponse("<h1>No such mail</h1>", status_code=404)
        return HTMLResponse(mail_page(mails[number - 1]))

    async def list_mails(self, request: Request) -> Response:
        """All mails as JSON, newest first, of one recipient or category if asked."""
        to, category = request.query_params.get("to"), request.query_params.get("category")
        found = [
            shown(mail)
            for mail in reversed(self._simulator.mails)
            if to in (None, mail.to) and category in (None, mail.category)
        ]
        return JSONResponse({"mails": found, "refused": self._simulator.refusals})

    async def clear(self, request: Request) -> Response:
        """Empty the mailbox."""
        self._simulator.mails.clear()
        return JSONResponse({"mails": []})


def shown(mail: Mail) -> dict[str, object]:
    """A mail as ``/_sim/mails`` lists it."""
    return {
        "id": str(mail.number),
        "receivedAt": mail.received_at.isoformat(),
        "to": mail.to,
        "from": mail.sender,
        "replyTo": mail.reply_to,
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "category": mail.category,
        "headers": mail.headers,
    }
