"""Local midnights, also where the clock changes."""

from datetime import UTC, datetime

from polaris_common.domain.billing_days import midnights


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_night_has_one_midnight_in_the_customers_zone() -> None:
    assert midnights(_utc("2026-03-01T20:00"), _utc("2026-03-02T08:00"), "Europe/Berlin") == [_utc("2026-03-01T23:00")]


def test_midnights_move_with_summer_time() -> None:
    assert midnights(_utc("2026-03-28T12:00"), _utc("2026-03-30T12:00"), "Europe/Berlin") == [
        _utc("2026-03-28T23:00"),
        _utc("2026-03-29T22:00"),
    ]


def test_an_end_exactly_at_midnight_is_no_boundary_inside() -> None:
    assert midnights(_utc("2026-03-01T20:00"), _utc("2026-03-02T00:00"), "UTC") == []


def test_a_zone_nobody_knows_counts_as_utc() -> None:
    assert midnights(_utc("2026-03-01T20:00"), _utc("2026-03-02T08:00"), "Mars/Olympus") == [_utc("2026-03-02T00:00")]
    assert midnights(_utc("2026-03-01T20:00"), _utc("2026-03-02T08:00"), "../../etc/passwd") == [
        _utc("2026-03-02T00:00")
    ]
