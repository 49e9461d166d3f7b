"""``/_sim/script``: many sessions in one call."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from polaris_sim.steve.dates import parse_moment
from polaris_sim.steve.simulator import SteveSimulator

_YIELD_EVERY = 100


async def run_script(simulator: SteveSimulator, actions: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Apply ``actions`` in order; refs live on, so a later script can go on with a session.

    Answers the transaction ids and statuses of the refs started here, the refs of refused stops, and how many
    actions were applied.

    Raises:
        ValueError: an action is not understood; what came before it stays.
        KeyError: it names an unknown ref, charge box or field.
    """
    outcome = _Outcome()
    for number, action in enumerate(actions):
        match action.get("do"):
            case "start":
                await _start(simulator, action, outcome)
            case "meter":
                _meter(simulator, action)
                await simulator.hooks.room()
            case "stop":
                _stop(simulator, action, outcome)
            case unknown:
                raise ValueError(f"action {number}: {unknown!r} is not start, meter or stop")
        if number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return {
        "transactions": outcome.transactions,
        "statuses": outcome.statuses,
        "refusedStops": outcome.refused_stops,
        "applied": len(actions),
    }


class _Outcome:
    def __init__(self) -> None:
        self.transactions: dict[str, int] = {}
        self.statuses: dict[str, str] = {}
        self.refused_stops: dict[str, str] = {}


async def _start(simulator: SteveSimulator, action: Mapping[str, object], outcome: _Outcome) -> None:
    value = action.get("startValue")
    result = await simulator.start_transaction(
        str(action["chargeBoxId"]),
        int(str(action.get("connectorId", 1))),
        str(action["idTag"]),
        start_value=None if value is None else str(value),
        timestamp=moment(action),
    )
    ref = str(action.get("ref", result.transaction_id))
    simulator.refs[ref] = outcome.transactions[ref] = result.transaction_id
    outcome.statuses[ref] = result.status


def _meter(simulator: SteveSimulator, action: Mapping[str, object]) -> None:
    simulator.meter_values(simulator.refs[str(action["ref"])], moment(action), samples(action))


def _stop(simulator: SteveSimulator, action: Mapping[str, object], outcome: _Outcome) -> None:
    ref, reason = str(action["ref"]), action.get("reason")
    result = simulator.stop_transaction(
        simulator.refs[ref],
        str(action["stopValue"]),
        moment(action),
        reason=None if reason is None else str(reason),
        actor=str(action.get("actor", "station")),
    )
    if result.fail_reason is not None:
        outcome.refused_stops[ref] = result.fail_reason


def moment(body: Mapping[str, object]) -> datetime | None:
    """The ``timestamp`` of a control body; None means now."""
    text = body.get("timestamp")
    return None if text is None else parse_moment(str(text))


def samples(body: Mapping[str, object]) -> list[dict[str, str]]:
    """The ``samples`` of a control body: objects whose values become text, or bare register readings in Wh."""
    listed = body.get("samples", [])
    if not isinstance(listed, list):
        raise ValueError("samples must be a list")
    return [
        {str(key): str(value) for key, value in sample.items() if value is not None}
        if isinstance(sample, dict)
        else {"value": str(sample)}
        for sample in listed
    ]
