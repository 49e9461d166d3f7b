"""Lago's ``/_sim`` routes: no key, never disturbed."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polaris_sim.control import control_routes, faults_shown
from polaris_sim.lago import views
from polaris_sim.lago.errors import LagoError
from polaris_sim.lago.simulator import LagoSimulator
from polaris_sim.lago.wire import JsonObject, integer, iso_time, mapping, parse, render, text


class LagoControl:
    """What a test, the demo or the replay asks of a simulated Lago beyond its API."""

    def __init__(self, simulator: LagoSimulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[Route]:
        """All routes under ``/_sim``."""
        config = self._simulator.config
        return [
            *control_routes(config.clock, config.faults),
            Route("/_sim/config", self.configure, methods=["PUT"]),
            Route("/_sim/config", self.show_config, methods=["GET"]),
            Route("/_sim/seed", self.seed, methods=["POST"]),
            Route("/_sim/events", self.events, methods=["GET"]),
            Route("/_sim/totals", self.totals, methods=["GET"]),
            Route("/_sim/roll-over", self.roll_over, methods=["POST"]),
            Route("/_sim/webhooks", self.webhooks, methods=["GET"]),
            Route("/_sim/webhooks/send", self.send_webhook, methods=["POST"]),
            Route("/_sim/requests", self.requests, methods=["GET"]),
        ]

    async def configure(self, request: Request) -> Response:
        """Change store, premium, partialBatches, staleCache, invoiceGracePeriod and webhooks."""
        try:
            self._simulator.configure(await _object(request))
        except ValueError as error:
            return _json({"error": str(error)}, 422)
        return await self.show_config(request)

    async def show_config(self, request: Request) -> Response:
        """The switches in force."""
        config = self._simulator.config
        webhooks = config.webhooks
        return _json(
            {
                "store": config.store,
                "premium": config.premium,
                "partialBatches": config.partial_batches,
                "staleCache": config.stale_cache,
                "invoiceGracePeriod": config.invoice_grace_period,
                "webhooks": {
                    "duplicate": webhooks.duplicate,
                    "outOfOrder": webhooks.out_of_order,
                    "drop": webhooks.drop,
                    "retryScale": webhooks.retry_scale,
                },
            }
        )

    async def seed(self, request: Request) -> Response:
        """Load metrics, plans, customers, subscriptions and wallets."""
        try:
            return _json(self._simulator.seed(await _object(request)))
        except LagoError as error:
            return _json(error.body, error.status)

    async def events(self, request: Request) -> Response:
        """Raw accepted events in order of arrival, of one subscription, after a time or from an offset on."""
        log = self._simulator.organization.events
        external_id, after = request.query_params.get("external_subscription_id"), request.query_params.get("after")
        since = iso_time(after)
        offset = int(after) if after and after.isdecimal() else 0
        found = (log.raw if external_id is None else log.raw_of(external_id))[offset:]
        shown = [views.event(event) for event in found if since is None or offset or event.created_at > since]
        return _json({"events": shown, "next": offset + len(found)})

    async def totals(self, request: Request) -> Response:
        """What Lago would bill in total."""
        return _json(self._simulator.totals())

    async def roll_over(self, request: Request) -> Response:
        """Do what the clock has made due, and wait until its webhooks are delivered or given up."""
        self._simulator.roll_over()
        await self._simulator.webhooks.settle()
        return _json({"now": self._simulator.config.clock.now().isoformat()})

    async def webhooks(self, request: Request) -> Response:
        """Every delivery and the answers it got."""
        records = [
            {
                "webhookType": record.webhook_type,
                "url": record.url,
                "uniqueKey": record.unique_key,
                "statuses": record.statuses,
            }
            for record in self._simulator.webhooks.records
        ]
        return _json({"records": records, "dropped": self._simulator.webhooks.dropped})

    async def send_webhook(self, request: Request) -> Response:
        """Send ``{"webhook_type", "object_type", "object", "times": 1}`` to every endpoint that wants the type."""
        body = await _object(request)
        kind, object_type = text(body, "webhook_type") or "", text(body, "object_type") or ""
        sent: list[JsonObject] = []
        for _ in range(integer(body, "times", 1)):
            records = await self._simulator.webhooks.send(kind, object_type, mapping(body, "object"))
            sent += [{"url": one.url, "uniqueKey": one.unique_key, "statuses": one.statuses} for one in records]
        return _json({"records": sent})

    async def requests(self, request: Request) -> Response:
        """How often each route was served with which status, and what was injected."""
        counts = [
            {"method": method, "path": path, "status": status, "count": count}
            for (method, path, status), count in sorted(self._simulator.requests.items())
        ]
        injected = faults_shown(self._simulator.config.faults)["injected"]
        return _json({"requests": counts, "faults": injected, "at": datetime.now(UTC).isoformat()})


async def _object(request: Request) -> JsonObject:
    body = parse(await request.body() or b"{}")
    return body if isinstance(body, dict) else {}


def _json(body: object, status: int = 200) -> Response:
    return Response(render(body), status, media_type="application/json")
