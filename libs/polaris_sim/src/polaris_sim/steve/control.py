"""``/_sim``: what stations, operators and tests do to the simulator. No auth, JSON, never disturbed by faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve.config import HookConfig
from polaris_sim.steve.dates import iso, parse_moment
from polaris_sim.steve.edge import json_response
from polaris_sim.steve.model import StationBehaviour
from polaris_sim.steve.script import moment, run_script, samples
from polaris_sim.steve.simulator import SteveSimulator
from polaris_sim.steve.state import ForeignKeyViolation

Body = dict[str, Any]


def control_routes(simulator: SteveSimulator) -> list[Route]:
    """All routes under ``/_sim``."""
    control = _Control(simulator)
    table: list[tuple[str, str, Callable[[Request], Awaitable[object]]]] = [
        ("POST", "/charge-boxes", control.add_charge_boxes),
        ("DELETE", "/charge-boxes/{chargeBoxId}", control.delete_charge_box),
        ("POST", "/tags", control.add_tags),
        ("DELETE", "/tags/{idTag}", control.delete_tag),
        ("POST", "/authorize", control.authorize),
        ("POST", "/transactions", control.start),
        ("POST", "/transactions/{id:int}/meter-values", control.meter_values),
        ("POST", "/transactions/{id:int}/stop", control.stop),
        ("POST", "/meter-values", control.loose_meter_values),
        ("POST", "/script", control.script),
        ("GET", "/clock", control.clock),
        ("PUT", "/clock", control.set_clock),
        ("GET", "/faults", control.faults),
        ("PUT", "/faults", control.set_faults),
        ("GET", "/hooks", control.hooks),
        ("PUT", "/hooks", control.set_hooks),
        ("GET", "/hooks/drained", control.hooks_drained),
        ("PUT", "/password", control.rotate_password),
        ("POST", "/restart", control.restart),
        ("GET", "/state", control.state),
    ]
    return [Route("/_sim" + path, _answering(handler), methods=[method]) for method, path, handler in table]


def _answering(handler: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return json_response(await handler(request))
        except (KeyError, ValueError, TypeError, ForeignKeyViolation) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, 400)

    return answer


class _Control:
    def __init__(self, simulator: SteveSimulator) -> None:
        self._simulator = simulator

    async def add_charge_boxes(self, request: Request) -> object:
        """One box or a list of them; an existing one is changed."""
        added = []
        for body in await _bodies(request):
            box = self._simulator.add_charge_box(
                body["chargeBoxId"],
                connectors=body.get("connectors", 1),
                description=body.get("description"),
                online=body.get("online", True),
                behaviour=_behaviour(body.get("behaviour", {})),
            )
            added.append({"chargeBoxId": box.charge_box_id, "chargeBoxPk": box.charge_box_pk})
        return added

    async def delete_charge_box(self, request: Request) -> object:
        """The operator deletes a box with its transactions."""
        self._simulator.delete_charge_box(request.path_params["chargeBoxId"])
        return {}

    async def add_tags(self, request: Request) -> object:
        """One tag or a list of them; an existing one is changed."""
        added = []
        for body in await _bodies(request):
            expiry = body.get("expiryDate")
            tag = self._simulator.add_tag(
                body["idTag"],
                max_active_transaction_count=body.get("maxActiveTransactionCount", 1),
                parent_id_tag=body.get("parentIdTag"),
                expiry_date=parse_moment(expiry) if expiry else None,
                note=body.get("note"),
                user_pk=body.get("userPk"),
            )
            added.append({"idTag": tag.id_tag, "ocppTagPk": tag.ocpp_tag_pk})
        return added

    async def delete_tag(self, request: Request) -> object:
        """The operator deletes a tag with its transactions."""
        self._simulator.delete_tag(request.path_params["idTag"])
        return {}

    async def authorize(self, request: Request) -> object:
        """A driver taps."""
        body = await _body(request)
        status = await self._simulator.authorize(
            body["chargeBoxId"], body["idTag"], connector_id=body.get("connectorId")
        )
        return {"status": status}

    async def start(self, request: Request) -> object:
        """StartTransaction."""
        body = await _body(request)
        result = await self._simulator.start_transaction(
            body["chargeBoxId"],
            body.get("connectorId", 1),
            body["idTag"],
            start_value=body.get("startValue", 0),
            timestamp=moment(body),
        )
        return {"transactionId": result.transaction_id, "status": result.status}

    async def meter_values(self, request: Request) -> object:
        """MeterValues of a transaction."""
        body = await _body(request)
        stored = self._simulator.meter_values(
            request.path_params["id"],
            moment(body),
            samples(body),
            charge_box_id=body.get("chargeBoxId"),
            connector_id=body.get("connectorId"),
        )
        await self._simulator.hooks.room()
        return {"stored": stored}

    async def loose_meter_values(self, request: Request) -> object:
        """MeterValues without a transaction."""
        body = await _body(request)
        stored = self._simulator.meter_values(
            None, moment(body), samples(body), charge_box_id=body["chargeBoxId"], connector_id=body["connectorId"]
        )
        return {"stored": stored}

    async def stop(self, request: Request) -> object:
        """StopTransaction, or an operator's stop with given values."""
        body = await _body(request)
        result = self._simulator.stop_transaction(
            request.path_params["id"],
            body["stopValue"],
            moment(body),
            reason=body.get("reason"),
            actor=body.get("actor", "station"),
        )
        return {"stored": result.stored, "failReason": result.fail_reason}

    async def script(self, request: Request) -> object:
        """Many sessions in one call."""
        return await run_script(self._simulator, await _bodies(request))

    async def clock(self, _: Request) -> object:
        """The simulated time and its speed."""
        clock = self._simulator.clock
        return {"now": iso(clock.now()), "speed": clock.speed}

    async def set_clock(self, request: Request) -> object:
        """Set the time, the speed, or both."""
        body = await _body(request)
        if body.get("now") is not None:
            self._simulator.clock.set(parse_moment(body["now"]))
        if body.get("speed") is not None:
            self._simulator.clock.run_at(float(body["speed"]))
        return await self.clock(request)

    async def faults(self, _: Request) -> object:
        """The fault plan and what it has done."""
        plan = self._simulator.faults
        return {"seed": plan.seed, "rules": [asdict(rule) for rule in plan.rules], "injected": plan.injected}

    async def set_faults(self, request: Request) -> object:
        """Put a new fault plan in force."""
        body = await _body(request)
        rules = [FaultRule(**{**rule, "fault": Fault(rule["fault"])}) for rule in body.get("rules", [])]
        self._simulator.faults.replace(rules, seed=body.get("seed", 0))
        return await self.faults(request)

    async def hooks(self, _: Request) -> object:
        """The hook configuration without its keys, and the counters."""
        hooks = self._simulator.hooks
        settings = {_camel(name): value for name, value in asdict(hooks.config).items() if not name.endswith("_key")}
        return settings | {"counters": hooks.counters(), "inFlight": hooks.in_flight}

    async def set_hooks(self, request: Request) -> object:
        """Change what the body names of the hook configuration."""
        body = await _body(request)
        names = {_camel(field.name): field.name for field in fields(HookConfig)}
        changes = {names[key]: value for key, value in body.items()}
        self._simulator.hooks.configure(replace(self._simulator.hooks.config, **changes))
        return await self.hooks(request)

    async def hooks_drained(self, request: Request) -> object:
        """Wait until no hook is in flight, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(float(request.query_params.get("timeout", "30"))):
                await self._simulator.settled()
            drained = True
        except TimeoutError:
            drained = False
        return {"drained": drained, "counters": self._simulator.hooks.counters()}

    async def rotate_password(self, request: Request) -> object:
        """Another API password; SteVe notices within 10 minutes."""
        self._simulator.credentials.rotate((await _body(request))["apiPassword"])
        return {}

    async def restart(self, _: Request) -> object:
        """SteVe restarts."""
        self._simulator.restart()
        return {}

    async def state(self, _: Request) -> object:
        """Counts, energy, active ids and hook counters."""
        state = self._simulator.state
        return {
            "now": iso(self._simulator.clock.now()),
            "profile": self._simulator.config.profile,
            "chargeBoxes": len(state.charge_boxes()),
            "tags": len(state.tags()),
            "transactions": len(state.transactions),
            "activeTransactionIds": list(state.active),
            "failedStops": [
                {"transactionId": failed.transaction_id, "failReason": failed.fail_reason}
                for failed in state.failed_stops
            ],
            "meterValues": state.meter_value_count,
            "energyWh": str(state.energy_wh()),
            "reservationIds": list(state.reservations),
            "hooks": self._simulator.hooks.counters(),
            "hooksInFlight": self._simulator.hooks.in_flight,
        }


async def _body(request: Request) -> Body:
    body = json.loads(await request.body())
    if not isinstance(body, dict):
        raise TypeError("the body must be an object")
    return body


async def _bodies(request: Request) -> list[Body]:
    body = json.loads(await request.body())
    bodies = body if isinstance(body, list) else [body]
    if not all(isinstance(one, dict) for one in bodies):
        raise TypeError("the body must be an object or a list of objects")
    return bodies


def _behaviour(body: Body) -> StationBehaviour:
    names = {_camel(field.name): field.name for field in fields(StationBehaviour)}
    return StationBehaviour(**{names[key]: value for key, value in body.items()})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
