"""From sessions to what the stations do, in the order of time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from polaris_cli.replay.rows import SessionRow
from polaris_common.clock import to_wire

SAMPLE_EVERY = timedelta(minutes=15)
"""Of session time."""

Action = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """One session as it will be charged."""

    ref: str
    driver: str
    station: str
    id_tag: str
    connector: int
    start_wh: int
    stop_wh: int
    started_at: datetime
    stopped_at: datetime

    @property
    def wh(self) -> int:
        """The energy it charges."""
        return self.stop_wh - self.start_wh

    def register_at(self, moment: datetime) -> int:
        """The register at ``moment``, as if power were constant; whole watt-hours."""
        whole = self.stopped_at - self.started_at
        return self.start_wh + self.wh * int((moment - self.started_at).total_seconds()) // int(whole.total_seconds())


@dataclass
class Script:
    """Everything that will happen."""

    sessions: list[Session]
    actions: list[Action]
    cards: dict[str, str]
    """Driver → the idTag of the one card."""
    stations: dict[str, int]
    """Charge box id → connectors."""

    @property
    def first_moment(self) -> datetime:
        """When the first session starts."""
        return min(session.started_at for session in self.sessions)


@dataclass
class _Station:
    register: int = 0
    busy_until: list[datetime] = field(default_factory=list)

    def plug_in(self, row: SessionRow) -> int:
        """The lowest connector that was free before the session starts."""
        for index, until in enumerate(self.busy_until):
            if until < row.started_at:
                self.busy_until[index] = row.stopped_at
                return index + 1
        self.busy_until.append(row.stopped_at)
        return len(self.busy_until)


def build(rows: Sequence[SessionRow]) -> Script:
    """The script of ``rows``: sessions by start, each station's register going on from its last session."""
    cards = {driver: f"REPLAY{number:06d}" for number, driver in enumerate(sorted({row.driver for row in rows}), 1)}
    stations: dict[str, _Station] = {}
    sessions: list[Session] = []
    for row in sorted(rows, key=lambda row: (row.started_at, row.line)):
        box = f"CP-{row.station}"
        station = stations.setdefault(box, _Station())
        start = station.register
        station.register += row.wh
        sessions.append(
            Session(
                ref=row.session_id,
                driver=row.driver,
                station=box,
                id_tag=cards[row.driver],
                connector=station.plug_in(row),
                start_wh=start,
                stop_wh=station.register,
                started_at=row.started_at,
                stopped_at=row.stopped_at,
            )
        )
    return Script(
        sessions=sessions,
        actions=_in_order(sessions),
        cards=cards,
        stations={box: len(station.busy_until) for box, station in stations.items()},
    )


def batches(actions: Sequence[Action], size: int) -> Iterator[list[Action]]:
    """``actions`` in batches of about ``size``; a session's stop comes in a later batch than its samples.

    Whoever waits between two batches until the hooks are delivered lets billing see sessions while they charge, as in
    real time. Only stops move, and none past the next start on its connector.
    """
    batch: list[Action] = []
    stops: list[Action] = []
    connectors = {action["ref"]: _connector(action) for action in actions if action["do"] == "start"}
    for action in actions:
        if action["do"] == "stop":
            stops.append(action)
            continue
        waits_for_stop = action["do"] == "start" and _connector(action) in {connectors[stop["ref"]] for stop in stops}
        if waits_for_stop or len(batch) >= size:
            yield batch
            batch, stops = stops, []
        batch.append(action)
    yield batch
    yield stops


def _connector(start: Action) -> tuple[str, int]:
    return start["chargeBoxId"], start["connectorId"]


def _in_order(sessions: Sequence[Session]) -> list[Action]:
    timed = [
        (moment, number, step, action)
        for number, session in enumerate(sessions)
        for step, (moment, action) in enumerate(_actions(session))
    ]
    timed.sort(key=lambda entry: entry[:3])
    return [action for *_, action in timed]


def _actions(session: Session) -> Iterator[tuple[datetime, Action]]:
    yield (
        session.started_at,
        {
            "do": "start",
            "ref": session.ref,
            "chargeBoxId": session.station,
            "connectorId": session.connector,
            "idTag": session.id_tag,
            "startValue": str(session.start_wh),
            "timestamp": to_wire(session.started_at),
        },
    )
    moment = session.started_at + SAMPLE_EVERY
    while moment < session.stopped_at:
        yield moment, _meter(session, moment)
        moment += SAMPLE_EVERY
    yield (
        session.stopped_at,
        {
            "do": "stop",
            "ref": session.ref,
            "stopValue": str(session.stop_wh),
            "timestamp": to_wire(session.stopped_at),
            "reason": "EVDisconnected",
        },
    )


def _meter(session: Session, moment: datetime) -> Action:
    sample = {
        "value": str(session.register_at(moment)),
        "measurand": "Energy.Active.Import.Register",
        "unit": "Wh",
        "context": "Sample.Periodic",
        "location": "Outlet",
    }
    return {"do": "meter", "ref": session.ref, "timestamp": to_wire(moment), "samples": [sample]}
