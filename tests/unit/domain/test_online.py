"""Who counts as online."""

from datetime import UTC, datetime, timedelta

import pytest

from polaris_common.domain.online import charger_is_online, device_is_online

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "online"), [(0, True), (90, True), (91, False)])
def test_a_device_is_online_for_90_seconds(seconds: int, online: bool) -> None:
    assert device_is_online(NOW - timedelta(seconds=seconds), NOW) is online


@pytest.mark.parametrize(
    ("minutes", "statuses", "online"),
    [
        (60, [], True),
        (61, [], False),
        (1, ["Available", None], True),
        (1, ["Available", "Faulted"], False),
        (1, ["Unavailable"], False),
    ],
)
def test_a_charger_is_online_for_an_hour_unless_it_reports_a_fault(
    minutes: int, statuses: list[str | None], online: bool
) -> None:
    assert charger_is_online(NOW - timedelta(minutes=minutes), statuses, NOW) is online


def test_who_was_never_heard_of_is_offline() -> None:
    assert not device_is_online(None, NOW)
    assert not charger_is_online(None, [], NOW)
