"""Who pays, in which period, and why not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from polaris_common.domain.payer import Decision, Held, HoldReason, Never, NeverReason, Pays, SubscriptionValue, decide
from polaris_common.domain.tag_owner import MappingValue

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def _owner(*, subscription: str | None = None, tier: str = "standard") -> MappingValue:
    return MappingValue(1, True, None, "customer", subscription, tier)


def _sub(
    external_id: str, customer: str = "customer", status: str = "active", *, charges_energy: bool | None = True
) -> SubscriptionValue:
    return SubscriptionValue(
        external_id,
        customer,
        status,
        started_at=MARCH - timedelta(days=300),
        period_started_at=MARCH,
        period_ending_at=APRIL,
        mirrored_at=NOW - timedelta(minutes=1),
        charges_energy=charges_energy,
    )


def _decide(
    owner: MappingValue | None,
    *subscriptions: SubscriptionValue,
    mirrored: bool = True,
    usage_at: datetime = NOW,
    now: datetime = NOW,
) -> Decision:
    return decide(owner, subscriptions, lago_mirrored=mirrored, usage_at=usage_at, now=now)


def test_a_tag_that_nobody_owns_waits_for_a_mapping() -> None:
    assert _decide(None, _sub("a")) == Held(HoldReason.UNMAPPED)


def test_the_customers_active_subscription_pays() -> None:
    assert _decide(_owner(), _sub("old", status="terminated"), _sub("b"), _sub("x", "other")) == Pays("b", NOW, False)


def test_the_subscription_a_mapping_names_pays_and_no_other() -> None:
    assert _decide(_owner(subscription="b"), _sub("a"), _sub("b")) == Pays("b", NOW, False)
    assert _decide(_owner(subscription="b"), _sub("a"), _sub("b", status="terminated")) == Held(
        HoldReason.NO_SUBSCRIPTION
    )


def test_a_missing_subscription_holds_the_session_and_never_settles_it() -> None:
    assert _decide(_owner()) == Held(HoldReason.NO_SUBSCRIPTION)


def test_an_absence_means_nothing_before_lago_was_read_once() -> None:
    assert _decide(_owner(), mirrored=False) == Held(HoldReason.LAGO_NOT_MIRRORED)


def test_a_comped_card_is_never_billed() -> None:
    assert _decide(_owner(tier="comped"), _sub("a")) == Never(NeverReason.COMPED)


def test_a_plan_without_a_charge_for_energy_is_flat_rate_even_if_the_mapping_names_its_subscription() -> None:
    flat = _sub("flat", charges_energy=False)
    assert _decide(_owner(), flat) == Never(NeverReason.FLAT_RATE)
    assert _decide(_owner(subscription="flat"), flat) == Never(NeverReason.FLAT_RATE)
    assert _decide(_owner(), flat, _sub("metered")) == Pays("metered", NOW, False)


def test_a_plan_we_do_not_know_yet_is_not_taken_for_flat_rate() -> None:
    assert _decide(_owner(), _sub("a", charges_energy=None)) == Held(HoldReason.LAGO_NOT_MIRRORED)


def test_the_choice_among_several_subscriptions_does_not_depend_on_their_order() -> None:
    assert _decide(_owner(), _sub("b"), _sub("a")) == _decide(_owner(), _sub("a"), _sub("b")) == Pays("a", NOW, False)


def test_energy_of_the_running_period_keeps_its_own_time() -> None:
    assert _decide(_owner(), _sub("a"), usage_at=MARCH) == Pays("a", MARCH, False)


def test_energy_of_a_closed_period_is_stamped_into_the_open_one() -> None:
    assert _decide(_owner(), _sub("a"), usage_at=MARCH - timedelta(milliseconds=1)) == Pays("a", NOW, True)


def test_a_period_that_ended_since_lago_last_told_us_counts_as_closed() -> None:
    later = APRIL + timedelta(hours=1)
    assert _decide(_owner(), _sub("a"), usage_at=APRIL - timedelta(hours=1), now=later) == Pays("a", later, True)
    assert _decide(_owner(), _sub("a"), usage_at=APRIL, now=later) == Pays("a", APRIL, False)


def test_energy_from_before_the_subscription_is_late() -> None:
    assert _decide(_owner(), _sub("a"), usage_at=MARCH - timedelta(days=400)) == Pays("a", NOW, True)


def test_a_session_that_began_on_a_flat_rate_stays_there_whatever_plan_the_driver_has_by_now() -> None:
    began = NOW - timedelta(hours=2)
    flat = replace(_sub("s", status="terminated", charges_energy=False), ended_at=NOW - timedelta(hours=1))
    metered = replace(_sub("s"), started_at=NOW - timedelta(hours=1))

    def payer(unsold_since: datetime | None, *subscriptions: SubscriptionValue) -> Decision:
        return decide(_owner(), subscriptions, lago_mirrored=True, usage_at=NOW, now=NOW, unsold_since=unsold_since)

    assert payer(began, flat, metered) == Never(NeverReason.FLAT_RATE)
    assert payer(began, flat) == Never(NeverReason.FLAT_RATE)
    assert payer(began, flat, _sub("metered all along"), metered) != Never(NeverReason.FLAT_RATE)
    assert payer(NOW, flat, metered) == Pays("s", NOW, False)
    assert payer(None, flat, metered) == Pays("s", NOW, False)


def test_energy_that_a_stations_clock_puts_into_the_future_is_billed_now_and_not_in_years() -> None:
    assert _decide(_owner(), _sub("a"), usage_at=NOW + timedelta(days=40_000)) == Pays("a", NOW, False)


def test_a_stamp_is_in_the_open_period_although_our_clock_is_behind_lagos() -> None:
    behind = MARCH - timedelta(seconds=20)
    for usage_at in (MARCH - timedelta(hours=1), MARCH + timedelta(hours=1)):
        decision = _decide(_owner(), _sub("a"), usage_at=usage_at, now=behind)
        assert isinstance(decision, Pays)
        assert MARCH <= decision.stamp < MARCH + timedelta(seconds=1)
