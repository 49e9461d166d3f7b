"""What stations do follows from the file: registers go on, samples come every quarter of an hour, stops are exact."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from polaris_cli.replay.rows import SessionRow
from polaris_cli.replay.script import Action, build

NOON = datetime(2019, 5, 1, 12, tzinfo=UTC)


def row(
    number: int, *, station: str = "A", driver: str = "d", start: float = 0, minutes: float = 60, wh: int = 1_000
) -> SessionRow:
    started_at = NOON + timedelta(minutes=start)
    return SessionRow(number, str(number), driver, station, started_at, started_at + timedelta(minutes=minutes), wh)


def of(actions: Sequence[Action], ref: str, kind: str) -> list[Action]:
    return [action for action in actions if action["ref"] == ref and action["do"] == kind]


def test_a_station_s_register_goes_on_from_its_last_session_in_the_order_of_starts() -> None:
    script = build([row(1, start=120, wh=300), row(2, start=0, wh=500), row(3, station="B", start=60, wh=70)])

    registers = {session.ref: (session.start_wh, session.stop_wh) for session in script.sessions}
    assert registers == {"2": (0, 500), "1": (500, 800), "3": (0, 70)}
    assert [session.ref for session in script.sessions] == ["2", "3", "1"]


def test_samples_come_every_fifteen_minutes_of_session_time_and_the_stop_is_exact() -> None:
    script = build([row(1, minutes=50, wh=1_001)])

    samples = of(script.actions, "1", "meter")
    assert [sample["timestamp"] for sample in samples] == [
        "2019-05-01T12:15:00.000Z",
        "2019-05-01T12:30:00.000Z",
        "2019-05-01T12:45:00.000Z",
    ]
    assert [sample["samples"][0]["value"] for sample in samples] == ["300", "600", "900"]
    (stop,) = of(script.actions, "1", "stop")
    assert (stop["stopValue"], stop["timestamp"]) == ("1001", "2019-05-01T12:50:00.000Z")


def test_a_session_that_ends_on_the_quarter_has_no_sample_there() -> None:
    assert len(of(build([row(1, minutes=30)]).actions, "1", "meter")) == 1


def test_a_session_without_duration_or_energy_is_a_start_and_a_stop() -> None:
    script = build([row(1, minutes=0, wh=0)])

    assert [action["do"] for action in script.actions] == ["start", "stop"]
    assert script.actions[0]["startValue"] == script.actions[1]["stopValue"] == "0"


def test_actions_of_all_stations_are_in_the_order_of_time() -> None:
    script = build([row(1, minutes=100), row(2, station="B", start=20, minutes=20)])

    order = [(action["ref"], action["do"]) for action in script.actions]
    assert [action["timestamp"] for action in script.actions] == sorted(a["timestamp"] for a in script.actions)
    assert order.index(("2", "stop")) < order.index(("1", "stop"))
    assert order.index(("1", "start")) < order.index(("2", "start"))


def test_every_driver_has_one_card_and_overlapping_sessions_use_other_connectors() -> None:
    script = build([row(1, driver="x"), row(2, driver="y", start=10), row(3, driver="x", start=200)])

    assert len(set(script.cards.values())) == 2
    assert {session.ref: session.connector for session in script.sessions} == {"1": 1, "2": 2, "3": 1}
    assert script.stations == {"CP-A": 2}
    assert all(len(card) <= 20 for card in script.cards.values())


def test_two_equal_sessions_without_energy_or_duration_stay_two() -> None:
    script = build([row(1, minutes=0, wh=0), row(2, minutes=0, wh=0)])

    starts = [action for action in script.actions if action["do"] == "start"]
    assert len({(s["chargeBoxId"], s["connectorId"], s["timestamp"], s["startValue"]) for s in starts}) == 2
