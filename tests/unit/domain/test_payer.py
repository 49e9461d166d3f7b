"""Who pays, and why not."""

from polaris_common.domain.payer import Decision, Held, HoldReason, Never, NeverReason, Pays, SubscriptionValue, decide
from polaris_common.domain.tag_owner import MappingValue


def _owner(*, subscription: str | None = None, tier: str = "standard") -> MappingValue:
    return MappingValue(1, True, None, "customer", subscription, tier)


def _sub(external_id: str, customer: str = "customer", status: str = "active") -> SubscriptionValue:
    return SubscriptionValue(external_id, customer, status)


def _decide(owner: MappingValue | None, *subscriptions: SubscriptionValue, mirrored: bool = True) -> Decision:
    return decide(owner, subscriptions, lago_mirrored=mirrored)


def test_a_tag_that_nobody_owns_waits_for_a_mapping() -> None:
    assert _decide(None, _sub("a")) == Held(HoldReason.UNMAPPED)


def test_the_customers_active_subscription_pays() -> None:
    assert _decide(_owner(), _sub("old", status="terminated"), _sub("b"), _sub("x", "other")) == Pays("b")


def test_the_subscription_a_mapping_names_pays_and_no_other() -> None:
    assert _decide(_owner(subscription="b"), _sub("a"), _sub("b")) == Pays("b")
    assert _decide(_owner(subscription="b"), _sub("a"), _sub("b", status="terminated")) == Held(
        HoldReason.NO_SUBSCRIPTION
    )


def test_a_missing_subscription_holds_the_session_and_never_settles_it() -> None:
    assert _decide(_owner()) == Held(HoldReason.NO_SUBSCRIPTION)


def test_an_absence_means_nothing_before_lago_was_read_once() -> None:
    assert _decide(_owner(), mirrored=False) == Held(HoldReason.LAGO_NOT_MIRRORED)


def test_a_comped_card_is_never_billed() -> None:
    assert _decide(_owner(tier="comped"), _sub("a")) == Never(NeverReason.COMPED)


def test_the_choice_among_several_subscriptions_does_not_depend_on_their_order() -> None:
    assert _decide(_owner(), _sub("b"), _sub("a")) == _decide(_owner(), _sub("a"), _sub("b")) == Pays("a")
