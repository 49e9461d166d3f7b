"""What SteVe is told about a tag, from what is known of it."""

from dataclasses import replace

import pytest

from polaris_common.domain.tag_owner import MappingValue
from polaris_common.domain.tap_decision import TapFacts, TapReason, objection_to

ACTIVE = MappingValue(1, True, None, "customer", None, "standard")
OFF = replace(ACTIVE, is_active=False)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (TapFacts(), TapReason.NO_OBJECTION),
        (TapFacts(own=ACTIVE, nearest=ACTIVE), TapReason.NO_OBJECTION),
        (TapFacts(nearest=ACTIVE), TapReason.NO_OBJECTION),
        (TapFacts(own=OFF, nearest=OFF), TapReason.CARD_DISABLED),
        (TapFacts(own=OFF, nearest=OFF, deactivation_reason="operator"), TapReason.CARD_DISABLED),
        (TapFacts(own=OFF, nearest=OFF, deactivation_reason="reported_lost"), TapReason.CARD_LOST),
        (TapFacts(own=OFF, nearest=OFF, deactivation_reason="expired"), TapReason.CARD_EXPIRED),
        (TapFacts(own=OFF, nearest=OFF, deactivation_reason="subscription_terminated"), TapReason.CUSTOMER_SUSPENDED),
        (TapFacts(nearest=OFF, deactivation_reason="operator"), TapReason.CUSTOMER_SUSPENDED),
        (TapFacts(own=ACTIVE, nearest=ACTIVE, expired=True), TapReason.CARD_EXPIRED),
        (TapFacts(own=ACTIVE, nearest=ACTIVE, reserved_for_others=True), TapReason.RESERVED),
        (TapFacts(reserved_for_others=True), TapReason.RESERVED),
        (TapFacts(own=OFF, nearest=OFF, reserved_for_others=True), TapReason.CARD_DISABLED),
    ],
)
def test_the_first_reason_to_block_is_the_answer(facts: TapFacts, reason: TapReason) -> None:
    assert objection_to(facts) is reason


def test_a_protected_card_is_only_blocked_by_a_person() -> None:
    protected = TapFacts(own=OFF, nearest=OFF, protected=True)

    assert objection_to(replace(protected, deactivation_reason="subscription_terminated")) is TapReason.NO_OBJECTION
    assert objection_to(replace(protected, deactivation_reason="reported_lost")) is TapReason.CARD_LOST
    assert objection_to(replace(protected, deactivation_reason="operator")) is TapReason.CARD_DISABLED


def test_nobody_is_blocked_because_a_subscription_is_not_known() -> None:
    unlinked = replace(ACTIVE, lago_customer_external_id=None)

    assert objection_to(TapFacts(own=unlinked, nearest=unlinked)) is TapReason.NO_OBJECTION
