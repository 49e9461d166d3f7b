"""How many transactions may a tag have?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.tag_limit import (
    LimitDecision,
    LimitReason,
    SubscriptionState,
    TagFacts,
    decide_limit,
    may_block_without_consent,
    subscription_state,
)
from polaris_common.domain.tag_owner import MappingValue, lineage

ACTIVE = MappingValue(1, True, None, "customer", None, "standard")
INACTIVE = replace(ACTIVE, is_active=False)
CARD = TagFacts(limit=1, own=ACTIVE, nearest=ACTIVE, subscription=SubscriptionState.PAYS)

facts = st.builds(
    TagFacts,
    limit=st.integers(-1, 5),
    own=st.sampled_from([None, ACTIVE, INACTIVE]),
    nearest=st.sampled_from([None, ACTIVE, INACTIVE]),
    is_meta=st.booleans(),
    subscription=st.sampled_from(SubscriptionState),
    switched_off_by_person=st.booleans(),
    protected=st.booleans(),
    expired=st.booleans(),
    hierarchy_known=st.booleans(),
).map(lambda tag: tag if tag.own is None else replace(tag, nearest=tag.own))


def test_a_card_whose_customer_pays_is_unlimited() -> None:
    assert decide_limit(CARD) == LimitDecision(-1, LimitReason.LINKED)


def test_a_meta_tag_whose_customer_pays_has_one_transaction_whoever_asks() -> None:
    assert decide_limit(replace(CARD, is_meta=True, limit=-1)) == LimitDecision(1, LimitReason.META)
    assert not decide_limit(replace(CARD, is_meta=True, limit=1)).changes(1)


def test_a_tag_inherits_the_right_to_charge() -> None:
    assert decide_limit(replace(CARD, own=None)) == LimitDecision(-1, LimitReason.LINKED)


def test_an_inactive_card_never_inherits() -> None:
    decision = decide_limit(replace(CARD, own=INACTIVE, nearest=INACTIVE, switched_off_by_person=True))
    assert decision == LimitDecision(0, LimitReason.INACTIVE, by_person=True)


def test_a_tag_below_an_inactive_one_is_blocked_with_it() -> None:
    decision = decide_limit(replace(CARD, own=None, nearest=INACTIVE, switched_off_by_person=True))
    assert decision == LimitDecision(0, LimitReason.OWNER_INACTIVE, by_person=True)


def test_a_tag_that_nobody_knows_is_blocked() -> None:
    assert decide_limit(TagFacts(limit=1, own=None, nearest=None)) == LimitDecision(0, LimitReason.UNMAPPED)


def test_a_tag_that_is_blocked_already_needs_no_write() -> None:
    assert not decide_limit(TagFacts(limit=0, own=None, nearest=None)).changes(0)


def test_a_missing_parent_is_no_proof_that_nobody_knows_the_tag() -> None:
    tag = TagFacts(limit=1, own=None, nearest=None, hierarchy_known=False)
    assert decide_limit(tag) == LimitDecision(None, LimitReason.HIERARCHY_UNKNOWN)


def test_without_a_subscription_the_tag_is_blocked() -> None:
    tag = replace(CARD, subscription=SubscriptionState.NONE)
    assert decide_limit(tag) == LimitDecision(0, LimitReason.NO_SUBSCRIPTION)


@pytest.mark.parametrize("limit", [-1, 0, 1, 7])
def test_an_unknown_subscription_keeps_the_limit_whatever_it_is(limit: int) -> None:
    tag = replace(CARD, subscription=SubscriptionState.UNKNOWN, limit=limit)
    assert decide_limit(tag) == LimitDecision(None, LimitReason.SUBSCRIPTION_UNKNOWN)


def test_a_mapping_without_customer_and_subscription_opens_nothing() -> None:
    bare = replace(ACTIVE, lago_customer_external_id=None)
    assert decide_limit(replace(CARD, own=bare, nearest=bare)) == LimitDecision(0, LimitReason.UNLINKED)


def test_a_comped_card_needs_no_customer() -> None:
    comped = replace(ACTIVE, lago_customer_external_id=None, billing_tier="comped")
    tag = replace(CARD, own=comped, nearest=comped, subscription=SubscriptionState.FREE)
    assert decide_limit(tag) == LimitDecision(-1, LimitReason.COMPED)


@given(facts)
def test_a_protected_tag_changes_only_when_a_person_switches_it_off(tag: TagFacts) -> None:
    decision = decide_limit(replace(tag, protected=True))
    if decision.limit is not None:
        assert decision.by_person
        assert tag.nearest is not None
        assert not tag.nearest.is_active


@given(facts)
def test_an_expired_tag_is_never_written(tag: TagFacts) -> None:
    assert not decide_limit(replace(tag, expired=True)).changes(tag.limit)


@given(facts)
def test_a_tag_whose_own_mapping_is_inactive_is_never_opened(tag: TagFacts) -> None:
    decision = decide_limit(replace(tag, own=INACTIVE, nearest=INACTIVE))
    assert decision.limit in (None, 0)


@given(facts, st.integers(-1, 5))
def test_the_decision_does_not_depend_on_the_limit_the_tag_has(tag: TagFacts, limit: int) -> None:
    here, there = replace(tag, expired=False), replace(tag, expired=False, limit=limit)
    assert decide_limit(here) == decide_limit(there)


def _sub(external_id: str, customer: str = "customer", status: str = "active") -> SubscriptionValue:
    return SubscriptionValue(external_id, customer, status)


def test_an_active_subscription_of_the_customer_pays_and_a_strangers_does_not() -> None:
    def state(*subs: SubscriptionValue) -> SubscriptionState:
        return subscription_state(ACTIVE, subs, absence_counts=True)

    assert state(_sub("old", status="terminated"), _sub("new")) is SubscriptionState.PAYS
    assert state(_sub("x", "stranger")) is SubscriptionState.NONE


def test_an_absent_subscription_means_nothing_until_lago_was_read_since() -> None:
    assert subscription_state(ACTIVE, (), absence_counts=False) is SubscriptionState.UNKNOWN
    assert subscription_state(ACTIVE, (), absence_counts=True) is SubscriptionState.NONE


def test_a_terminated_subscription_is_known_however_old_the_reading() -> None:
    ended = _sub("s", status="terminated")
    assert subscription_state(ACTIVE, (ended,), absence_counts=False) is SubscriptionState.NONE


def test_a_subscription_that_waits_to_begin_neither_opens_nor_blocks() -> None:
    waiting = (_sub("old", status="terminated"), _sub("new", status="pending"))
    assert subscription_state(ACTIVE, waiting, absence_counts=True) is SubscriptionState.UNKNOWN
    canceled = _sub("new", status="canceled")
    assert subscription_state(ACTIVE, (canceled,), absence_counts=True) is SubscriptionState.NONE


def test_the_subscription_a_mapping_names_counts_alone() -> None:
    named = replace(ACTIVE, lago_subscription_external_id="b")
    both = (_sub("a"), _sub("b", status="terminated"))
    assert subscription_state(named, both, absence_counts=True) is SubscriptionState.NONE


def test_a_comped_mapping_is_free_whatever_lago_says() -> None:
    assert (
        subscription_state(replace(ACTIVE, billing_tier="comped"), (), absence_counts=False) is SubscriptionState.FREE
    )


@pytest.mark.parametrize(
    ("blocks", "tags", "may"), [(3, 3, True), (4, 10, False), (4, 40, True), (10, 100, True), (11, 100, False)]
)
def test_three_tags_or_a_tenth_may_be_blocked_without_consent(blocks: int, tags: int, *, may: bool) -> None:
    assert may_block_without_consent(blocks, tags, max_ratio=0.1) is may


def test_a_lineage_ends_where_a_circle_closes() -> None:
    assert lineage("A", {"a": "B", "b": "A"}) == ["a", "b"]
