"""What a person may say about a session that nobody could believe, and what leaves a doubt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from polaris_common.domain.session_release import Doubtful, Measured, SetAside, settled_stop

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = NOON + timedelta(hours=1)


def _session(reason: str = "zombie_silent", **fields: Any) -> SetAside:
    values: dict[str, Any] = {
        "started_at": NOON, "start_wh": 1_000, "stop_wh": None, "stopped_at": None, "readings": [],
    }  # fmt: skip
    return SetAside(reason, **{**values, **fields})


def _readings(*registers: int) -> list[Measured]:
    return [Measured(wh, NOON + timedelta(minutes=15 * number)) for number, wh in enumerate(registers, start=1)]


@pytest.mark.parametrize(
    ("session", "stop"),
    [
        (_session("over_max_power", stop_wh=900_000, stopped_at=ONE), Measured(900_000, ONE)),
        (_session("too_much_energy", stop_wh=5_000_000, stopped_at=ONE), Measured(5_000_000, ONE)),
        (_session(readings=_readings(1_500, 4_000)), Measured(4_000, NOON + timedelta(minutes=30))),
        (_session("vanished_in_steve", readings=_readings(1_500)), Measured(1_500, NOON + timedelta(minutes=15))),
        (_session("stop_value_unreadable", stopped_at=ONE, readings=_readings(4_000)), Measured(4_000, ONE)),
    ],
)
def test_what_was_measured_is_taken_as_it_is(session: SetAside, stop: Measured) -> None:
    assert settled_stop(session, stop_wh=None) == stop


@pytest.mark.parametrize(
    "session",
    [
        _session(),
        _session("negative_energy", stop_wh=200, stopped_at=ONE),
        _session("register_reset", stop_wh=9_000, stopped_at=ONE, readings=_readings(4_000, 10)),
        _session(readings=_readings(4_000, 3_000)),
        _session(readings=_readings(4_000, 10, 5_000), start_wh=3_000),
        _session(readings=_readings(500)),
        _session("start_value_unreadable", start_wh=None, stop_wh=5_000, stopped_at=ONE),
    ],
)
def test_a_measurement_that_leaves_a_doubt_is_refused(session: SetAside) -> None:
    with pytest.raises(Doubtful):
        settled_stop(session, stop_wh=None)


def test_a_given_stop_ends_when_steve_says_so() -> None:
    session = _session("negative_energy", stop_wh=200, stopped_at=ONE)
    assert settled_stop(session, stop_wh=5_000) == Measured(5_000, ONE)


def test_a_given_stop_ends_at_the_last_reading_where_nothing_else_says_so() -> None:
    last = NOON + timedelta(minutes=30)
    assert settled_stop(_session(readings=_readings(1_500, 4_000)), stop_wh=5_000) == Measured(5_000, last)


def test_a_given_end_counts_before_the_last_reading() -> None:
    session = _session(readings=_readings(1_500, 4_000))
    assert settled_stop(session, stop_wh=5_000, stopped_at=ONE) == Measured(5_000, ONE)


@pytest.mark.parametrize(
    ("session", "stop_wh", "stopped_at"),
    [
        (_session(), 5_000, None),
        (_session(), 999, ONE),
        (_session(), 1_001_001, ONE),
        (_session(), 5_000, NOON - timedelta(seconds=1)),
        (_session(stopped_at=ONE), 5_000, NOON),
        (_session("start_value_unreadable", start_wh=None), 5_000, ONE),
    ],
)
def test_a_given_stop_that_cannot_be_is_refused(session: SetAside, stop_wh: int, stopped_at: datetime | None) -> None:
    with pytest.raises(Doubtful):
        settled_stop(session, stop_wh=stop_wh, stopped_at=stopped_at)
