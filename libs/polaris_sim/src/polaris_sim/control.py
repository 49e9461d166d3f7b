"""The part of ``/_sim`` that every simulator has: its clock and its faults."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from polaris_sim.clock import SimClock
from polaris_sim.faults import Fault, FaultPlan, FaultRule


def control_routes(clock: SimClock, faults: FaultPlan) -> list[Route]:
    """Routes ``/_sim/clock`` and ``/_sim/faults``.

    ``PUT /_sim/clock`` takes ``{"speed": n}`` (0 freezes), ``{"now": ISO-8601}`` and ``{"advanceSeconds": n}``, in this
    order; ``PUT /_sim/faults`` takes ``{"seed": n, "rules": [{fault, method, path, probability, times, status,
    seconds}]}`` and replaces the plan.
    """

    async def get_clock(request: Request) -> JSONResponse:
        return JSONResponse({"now": clock.now().isoformat()})

    async def put_clock(request: Request) -> JSONResponse:
        body = await request.json()
        try:
            _set_clock(clock, body)
        except (TypeError, ValueError) as error:
            return _refused(error)
        return JSONResponse({"now": clock.now().isoformat()})

    async def get_faults(request: Request) -> JSONResponse:
        return JSONResponse(faults_shown(faults))

    async def put_faults(request: Request) -> JSONResponse:
        body = await request.json()
        try:
            rules, seed = [fault_rule(rule) for rule in body.get("rules", [])], int(body.get("seed", 0))
        except (TypeError, ValueError) as error:
            return _refused(error)
        faults.replace(rules, seed=seed)
        return JSONResponse(faults_shown(faults))

    return [
        Route("/_sim/clock", get_clock, methods=["GET"]),
        Route("/_sim/clock", put_clock, methods=["PUT"]),
        Route("/_sim/faults", get_faults, methods=["GET"]),
        Route("/_sim/faults", put_faults, methods=["PUT"]),
    ]


def fault_rule(body: Mapping[str, object]) -> FaultRule:
    """Read one rule.

    Raises:
        ValueError: the fault is unknown.
        TypeError: a field is unknown.
    """
    fields = {name: value for name, value in body.items() if name != "fault"}
    return FaultRule(Fault(str(body.get("fault"))), **fields)  # type: ignore[arg-type]


def faults_shown(faults: FaultPlan) -> dict[str, object]:
    """The plan in force and how often each fault has struck."""
    rules: Sequence[dict[str, object]] = [dict(vars(rule)) for rule in faults.rules]
    return {"seed": faults.seed, "rules": rules, "injected": faults.injected}


def _set_clock(clock: SimClock, body: Mapping[str, object]) -> None:
    if "speed" in body:
        clock.run_at(float(str(body["speed"])))
    if "now" in body:
        clock.set(datetime.fromisoformat(str(body["now"])))
    if "advanceSeconds" in body:
        clock.advance(float(str(body["advanceSeconds"])))


def _refused(error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=422)
