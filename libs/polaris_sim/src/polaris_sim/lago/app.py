"""The ASGI application of a simulated Lago."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from polaris_sim.faults import FaultInjector
from polaris_sim.lago import catalog_endpoints as catalog
from polaris_sim.lago import usage_endpoints as usage
from polaris_sim.lago.control import LagoControl
from polaris_sim.lago.errors import BadRequest, LagoError, Unauthorized
from polaris_sim.lago.listing import Call
from polaris_sim.lago.simulator import LagoSimulator
from polaris_sim.lago.wire import JsonObject, parse, render

PREFIX = "/api/v1"
VERSION = "1.50.0"
_Handler = Callable[[Call], JsonObject | None]

_ROUTES: list[tuple[str, str, _Handler]] = [
    ("POST", "/events", usage.create_event),
    ("POST", "/events/batch", usage.create_events),
    ("GET", "/events", usage.list_events),
    ("GET", "/events/{transaction_id:path}", usage.get_event),
    ("POST", "/customers", catalog.upsert_customer),
    ("GET", "/customers", catalog.list_customers),
    ("GET", "/customers/{external_id}/current_usage", catalog.current_usage),
    ("GET", "/customers/{external_id}/past_usage", catalog.past_usage),
    ("GET", "/customers/{external_id}/portal_url", catalog.portal_url),
    ("GET", "/customers/{external_id:path}", catalog.get_customer),
    ("DELETE", "/customers/{external_id:path}", catalog.delete_customer),
    ("POST", "/subscriptions", catalog.create_subscription),
    ("GET", "/subscriptions", catalog.list_subscriptions),
    ("GET", "/subscriptions/{external_id:path}", catalog.get_subscription),
    ("PUT", "/subscriptions/{external_id:path}", catalog.update_subscription),
    ("DELETE", "/subscriptions/{external_id:path}", catalog.terminate_subscription),
    ("POST", "/plans", catalog.create_plan),
    ("GET", "/plans", catalog.list_plans),
    ("GET", "/plans/{code}", catalog.get_plan),
    ("PUT", "/plans/{code}", catalog.update_plan),
    ("DELETE", "/plans/{code}", catalog.delete_plan),
    ("POST", "/billable_metrics", catalog.create_metric),
    ("GET", "/billable_metrics", catalog.list_metrics),
    ("GET", "/billable_metrics/{code}", catalog.get_metric),
    ("PUT", "/billable_metrics/{code}", catalog.update_metric),
    ("DELETE", "/billable_metrics/{code}", catalog.delete_metric),
    ("GET", "/invoices", usage.list_invoices),
    ("GET", "/invoices/{lago_id}", usage.get_invoice),
    ("PUT", "/invoices/{lago_id}", usage.update_invoice),
    ("PUT", "/invoices/{lago_id}/refresh", usage.refresh_invoice),
    ("PUT", "/invoices/{lago_id}/finalize", usage.finalize_invoice),
    ("POST", "/invoices/{lago_id}/void", usage.void_invoice),
    ("POST", "/invoices/{lago_id}/retry_payment", usage.retry_payment),
    ("POST", "/invoices/{lago_id}/download", usage.download_invoice),
    ("POST", "/invoices/{lago_id}/download_pdf", usage.download_invoice),
    ("GET", "/fees", usage.list_fees),
    ("GET", "/fees/{lago_id}", usage.get_fee),
    ("POST", "/wallets", catalog.create_wallet),
    ("GET", "/wallets", catalog.list_wallets),
    ("GET", "/wallets/{lago_id}", catalog.get_wallet),
    ("GET", "/organizations", catalog.get_organization),
    ("POST", "/webhook_endpoints", catalog.create_webhook_endpoint),
    ("GET", "/webhook_endpoints", catalog.list_webhook_endpoints),
    ("GET", "/webhook_endpoints/{lago_id}", catalog.get_webhook_endpoint),
    ("PUT", "/webhook_endpoints/{lago_id}", catalog.update_webhook_endpoint),
    ("DELETE", "/webhook_endpoints/{lago_id}", catalog.delete_webhook_endpoint),
]


def create_app(simulator: LagoSimulator) -> ASGIApp:
    """The REST API, ``/health`` and ``/_sim`` of ``simulator``, disturbed by its fault plan."""
    routes: list[BaseRoute] = [
        Route(PREFIX + path, _endpoint(simulator, path, handler), methods=[method]) for method, path, handler in _ROUTES
    ]
    routes += [Route("/health", _health, methods=["GET"]), *LagoControl(simulator).routes()]
    return FaultInjector(Starlette(routes=routes, exception_handlers={404: _no_route}), simulator.config.faults)


def _endpoint(simulator: LagoSimulator, path: str, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            _authenticate(request, simulator.config.api_key)
            simulator.roll_over()
            answer = handler(Call(simulator, request.path_params, request.query_params, _decoded(raw), path))
            status, body = 200, b"" if answer is None else render(answer)
        except LagoError as error:
            status, body = error.status, render(error.body)
        seen = (request.method, PREFIX + path, status)
        simulator.requests[seen] = simulator.requests.get(seen, 0) + 1
        simulator.webhooks.kick()
        return Response(body, status, media_type="application/json" if body else None)

    return endpoint


def _authenticate(request: Request, api_key: str) -> None:
    words = request.headers.get("authorization", "").split(" ")
    if len(words) < 2 or words[1] != api_key:
        raise Unauthorized


def _decoded(raw: bytes) -> JsonObject:
    if not raw:
        return {}
    try:
        body = parse(raw)
    except ValueError:
        raise BadRequest("error occurred while parsing request parameters") from None
    return body if isinstance(body, dict) else {}


async def _health(request: Request) -> Response:
    body = {"version": VERSION, "github_url": "https://github.com/getlago/lago-api", "message": "Success"}
    return Response(render(body), media_type="application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    return Response(
        render({"status": 404, "error": "Not Found", "code": "resource_not_found"}), 404, media_type="application/json"
    )
