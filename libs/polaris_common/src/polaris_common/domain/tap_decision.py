"""May this tag charge here, now? What SteVe is told when it asks.

SteVe's own answer can only be tightened: there is "blocked" and there is "no objection", which leaves SteVe's answer as
it is. What we do not know is no objection, and what a sync would only conclude (that nobody pays) is the sync's to do,
because it asks an operator before it blocks many tags.
"""

from dataclasses import dataclass
from enum import StrEnum

from polaris_common.domain.tag_limit import (
    UNLIMITED,
    LimitReason,
    TagFacts,
    decide_limit,
    switched_off_by_person,
)
from polaris_common.domain.tag_owner import MappingValue


class TapReason(StrEnum):
    """Why a tap was answered as it was."""

    NO_OBJECTION = "no_objection"
    SIGN_IN = "sign_in"
    """The charger waits for a card of somebody who signs in, and this one was read for them."""
    CARD_DISABLED = "card_disabled"
    CARD_LOST = "card_lost"
    CARD_EXPIRED = "card_expired"
    CUSTOMER_SUSPENDED = "customer_suspended"
    """Nobody pays for the card's owner any more, or the tag above the card is switched off."""
    RESERVED = "reserved"
    """The connector is kept for somebody else, or for nobody."""
    UNDECIDED = "undecided"
    """The database did not answer in time."""


_OF_DEACTIVATION = {
    "reported_lost": TapReason.CARD_LOST,
    "expired": TapReason.CARD_EXPIRED,
    "subscription_terminated": TapReason.CUSTOMER_SUSPENDED,
}


@dataclass(frozen=True)
class TapFacts:
    """What is known of the tag, and of the connector that it was held to."""

    own: MappingValue | None = None
    """The tag's own mapping, active or not."""
    nearest: MappingValue | None = None
    """Its own mapping, else that of its nearest ancestor that has one, active or not."""
    deactivation_reason: str | None = None
    """Why ``nearest`` is inactive."""
    expired: bool = False
    """Its expiry date in SteVe has passed."""
    protected: bool = False
    reserved_for_others: bool = False


def objection_to(tap: TapFacts) -> TapReason:
    """The first reason to block, else ``NO_OBJECTION``."""
    off = decide_limit(
        TagFacts(
            limit=UNLIMITED,
            own=tap.own,
            nearest=tap.nearest,
            switched_off_by_person=tap.nearest is not None
            and switched_off_by_person(is_active=tap.nearest.is_active, deactivation_reason=tap.deactivation_reason),
            protected=tap.protected,
        )
    )
    match off.reason:
        case LimitReason.INACTIVE:
            return _OF_DEACTIVATION.get(tap.deactivation_reason or "", TapReason.CARD_DISABLED)
        case LimitReason.OWNER_INACTIVE:
            return TapReason.CUSTOMER_SUSPENDED
    if tap.expired:
        return TapReason.CARD_EXPIRED
    return TapReason.RESERVED if tap.reserved_for_others else TapReason.NO_OBJECTION
