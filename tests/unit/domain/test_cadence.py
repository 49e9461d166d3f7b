"""How often to look."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.cadence import (
    BoxCadence,
    CadencePolicy,
    InvalidCron,
    Signals,
    Standing,
    Tier,
    evaluate,
    fleet_tier,
    next_match,
    next_run,
    retry_after,
)

NOW = datetime(2026, 3, 1, 12, 7, tzinfo=UTC)
POLICY = CadencePolicy()
QUIET = Signals(active=False, quiet_for=timedelta(days=1))
LONG_QUIET = Signals(active=False, quiet_for=timedelta(days=31))
ACTIVE = Signals(active=True, quiet_for=timedelta())


@pytest.mark.parametrize("tier", list(Tier))
def test_any_signal_promotes_at_once_from_every_tier(tier: Tier) -> None:
    assert evaluate(BoxCadence(tier, 1), ACTIVE, POLICY) == BoxCadence(Tier.ACTIVE, 0)


def test_silence_demotes_one_step_at_a_time_and_only_after_several_evaluations() -> None:
    box, tiers = BoxCadence(Tier.ACTIVE), []
    for _ in range(5):
        box = evaluate(box, LONG_QUIET, POLICY)
        tiers.append(box.tier)
    assert tiers == [Tier.ACTIVE, Tier.IDLE, Tier.IDLE, Tier.DORMANT, Tier.DORMANT]


def test_idle_becomes_dormant_only_after_days_without_session_or_tag_change() -> None:
    box = BoxCadence(Tier.IDLE)
    for _ in range(10):
        box = evaluate(box, QUIET, POLICY)
    assert box.tier is Tier.IDLE
    assert evaluate(box, LONG_QUIET, POLICY).tier is Tier.DORMANT


def test_a_box_that_never_had_a_session_becomes_dormant() -> None:
    box = BoxCadence(Tier.IDLE)
    for _ in range(2):
        box = evaluate(box, Signals(active=False, quiet_for=None), POLICY)
    assert box.tier is Tier.DORMANT


def test_a_tag_change_takes_a_dormant_box_back_to_idle() -> None:
    assert evaluate(BoxCadence(Tier.DORMANT), QUIET, POLICY) == BoxCadence(Tier.IDLE, 0)


@given(st.sampled_from(Tier), st.integers(0, 5))
def test_not_knowing_changes_nothing(tier: Tier, ticks: int) -> None:
    assert evaluate(BoxCadence(tier, ticks), None, POLICY) == BoxCadence(tier, ticks)


def test_the_fleet_is_as_active_as_its_most_active_box() -> None:
    assert fleet_tier([Tier.DORMANT, Tier.ACTIVE, Tier.IDLE]) is Tier.ACTIVE
    assert fleet_tier([Tier.DORMANT, Tier.IDLE]) is Tier.IDLE
    assert fleet_tier([]) is Tier.IDLE


@pytest.mark.parametrize(
    ("tier", "later"),
    [(Tier.ACTIVE, timedelta(minutes=15)), (Tier.IDLE, timedelta(hours=1)), (Tier.DORMANT, timedelta(weeks=1))],
)
def test_the_next_run_follows_from_the_last_one_and_the_tier_alone(tier: Tier, later: timedelta) -> None:
    assert next_run(Standing(tier, last_success_at=NOW), POLICY, now=NOW + timedelta(minutes=3)) == NOW + later


def test_before_any_run_one_is_due_at_once() -> None:
    assert next_run(Standing(Tier.DORMANT, last_success_at=None), POLICY, now=NOW) == NOW


def test_a_failed_run_is_tried_again_at_once_then_ever_later_but_never_later_than_when_active() -> None:
    waits = [retry_after(failures, POLICY).total_seconds() for failures in range(1, 9)]
    assert waits == [0, 30, 60, 120, 240, 480, 900, 900]
    standing = Standing(Tier.DORMANT, last_success_at=NOW, failures=3, last_failure_at=NOW)
    assert next_run(standing, POLICY, now=NOW) == NOW + timedelta(minutes=1)


def test_a_fixed_schedule_replaces_tiers_and_retries() -> None:
    policy = CadencePolicy(cron="*/20 * * * *")
    standing = Standing(Tier.DORMANT, last_success_at=NOW, failures=4, last_failure_at=NOW + timedelta(minutes=1))
    assert next_run(standing, policy, now=NOW) == datetime(2026, 3, 1, 12, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "before",
    [
        {"last_success_at": None},
        {"last_success_at": NOW - timedelta(days=1)},
        {"last_success_at": NOW - timedelta(days=1), "failures": 1, "last_failure_at": NOW - timedelta(minutes=1)},
    ],
    ids=["the first run", "a due run", "a repeat after a failure"],
)
def test_after_a_cancelled_run_the_next_is_due_as_after_one_that_completed(before: dict[str, Any]) -> None:
    standing = Standing(Tier.ACTIVE, last_cancelled_at=NOW, **before)
    assert next_run(standing, POLICY, now=NOW) == NOW + timedelta(minutes=15)
    by_cron = next_run(standing, CadencePolicy(cron="*/20 * * * *"), now=NOW)
    assert by_cron == datetime(2026, 3, 1, 12, 20, tzinfo=UTC)


def test_a_fixed_schedule_counts_from_when_a_worker_first_looked() -> None:
    standing = Standing(Tier.IDLE, last_success_at=None, watched_since=NOW)
    later = NOW + timedelta(hours=2)
    assert next_run(standing, CadencePolicy(cron="0 * * * *"), now=later) == datetime(2026, 3, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "often", "* * *", "61 * * * *", "0 0 30 2 *", "@hourly"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidCron):
        next_match(text, after=NOW)
