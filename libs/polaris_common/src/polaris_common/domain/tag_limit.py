"""How many transactions a tag may have in SteVe: one rule for runs, sweeps, meta tags and lost cards.

Unknown is never "no": where something needed for the answer cannot be known now, the tag keeps the limit it has.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.tag_owner import MappingValue

BLOCKED = 0
UNLIMITED = -1
META_LIMIT = 1
"""A meta tag stands for its customer in remote starts: one at a time."""

ALWAYS_ALLOWED_BLOCKS = 3

_BY_PERSON = frozenset({"reported_lost", "operator"})


class LimitReason(StrEnum):
    """Why a tag has, or keeps, its limit."""

    LINKED = "linked"
    META = "meta"
    COMPED = "comped"
    INACTIVE = "inactive"
    """Its own mapping is inactive: it never inherits."""
    OWNER_INACTIVE = "owner_inactive"
    """The nearest mapping above it is inactive."""
    UNLINKED = "unlinked"
    """Its mapping names no customer and no subscription."""
    UNMAPPED = "unmapped"
    NO_SUBSCRIPTION = "no_subscription"
    PROTECTED = "protected"
    SUBSCRIPTION_UNKNOWN = "subscription_unknown"
    HIERARCHY_UNKNOWN = "hierarchy_unknown"
    """Its parent is missing from what we have read of SteVe."""
    EXPIRED = "expired"
    """SteVe refuses the tag already, and takes no change that would keep its past expiry date."""


class SubscriptionState(StrEnum):
    """Whether somebody pays for a tag, as far as known."""

    PAYS = "pays"
    FREE = "free"
    NONE = "none"
    UNKNOWN = "unknown"
    """Not read yet, or one that has neither begun nor ended."""


_ENDED = frozenset({"terminated", "canceled"})


@dataclass(frozen=True)
class TagFacts:
    """What the rule needs to know about one tag."""

    limit: int
    """What SteVe has now."""
    own: MappingValue | None
    """The tag's own mapping, active or not."""
    nearest: MappingValue | None
    """Its own mapping, else that of its nearest ancestor that has one, active or not."""
    is_meta: bool = False
    subscription: SubscriptionState = SubscriptionState.UNKNOWN
    """Of ``nearest``."""
    switched_off_by_person: bool = False
    """``nearest`` is inactive because a person said so, not because we concluded it."""
    protected: bool = False
    expired: bool = False
    hierarchy_known: bool = True


@dataclass(frozen=True)
class LimitDecision:
    """The limit a tag should have, None for the one it has, and why."""

    limit: int | None
    reason: LimitReason
    by_person: bool = False
    """A person has switched the tag off; nothing had to be concluded."""

    def changes(self, limit: int) -> bool:
        """Whether a tag with ``limit`` must be written."""
        return self.limit is not None and self.limit != limit

    def blocks(self, limit: int) -> bool:
        """Whether this takes away the right to charge from a tag with ``limit``."""
        return self.limit == BLOCKED and limit != BLOCKED


def decide_limit(tag: TagFacts) -> LimitDecision:
    """The limit of one tag.

    A person's "off" stands above the protected list; everything that we only conclude stands below it.
    """
    wanted = _wanted(tag)
    if tag.expired and wanted.changes(tag.limit):
        return LimitDecision(None, LimitReason.EXPIRED)
    return wanted


def _wanted(tag: TagFacts) -> LimitDecision:
    if tag.nearest is not None and not tag.nearest.is_active and (tag.switched_off_by_person or not tag.protected):
        reason = LimitReason.INACTIVE if tag.own is not None else LimitReason.OWNER_INACTIVE
        return LimitDecision(BLOCKED, reason, by_person=tag.switched_off_by_person)
    if tag.protected:
        return LimitDecision(None, LimitReason.PROTECTED)
    if tag.nearest is not None:
        return _by_payer(tag, tag.nearest)
    if not tag.hierarchy_known:
        return LimitDecision(None, LimitReason.HIERARCHY_UNKNOWN)
    return LimitDecision(BLOCKED, LimitReason.UNMAPPED)


def _by_payer(tag: TagFacts, owner: MappingValue) -> LimitDecision:
    limit = META_LIMIT if tag.is_meta else UNLIMITED
    if tag.subscription is SubscriptionState.FREE:
        return LimitDecision(limit, LimitReason.COMPED)
    if owner.lago_customer_external_id is None and owner.lago_subscription_external_id is None:
        return LimitDecision(BLOCKED, LimitReason.UNLINKED)
    match tag.subscription:
        case SubscriptionState.PAYS:
            return LimitDecision(limit, LimitReason.META if tag.is_meta else LimitReason.LINKED)
        case SubscriptionState.NONE:
            return LimitDecision(BLOCKED, LimitReason.NO_SUBSCRIPTION)
        case _:
            return LimitDecision(None, LimitReason.SUBSCRIPTION_UNKNOWN)


def subscription_state(
    owner: MappingValue, subscriptions: Iterable[SubscriptionValue], *, absence_counts: bool
) -> SubscriptionState:
    """Whether somebody pays for ``owner``'s tags.

    ``subscriptions``: those of the owner's customer, and the one the mapping names, in whatever status.
    ``absence_counts``: all of Lago's subscriptions have been read since the mapping was last changed, so that finding
    none means that there is none.
    """
    if owner.billing_tier == "comped":
        return SubscriptionState.FREE
    statuses = {each.status for each in subscriptions if _belongs(each, owner)}
    if "active" in statuses:
        return SubscriptionState.PAYS
    if statuses - _ENDED:
        return SubscriptionState.UNKNOWN
    return SubscriptionState.NONE if statuses or absence_counts else SubscriptionState.UNKNOWN


def _belongs(subscription: SubscriptionValue, owner: MappingValue) -> bool:
    if owner.lago_subscription_external_id is not None:
        return subscription.external_id == owner.lago_subscription_external_id
    return subscription.external_customer_id == owner.lago_customer_external_id


def switched_off_by_person(*, is_active: bool, deactivation_reason: str | None) -> bool:
    """Whether a person made a mapping inactive, so that nothing had to be concluded."""
    return not is_active and deactivation_reason in _BY_PERSON


def may_block_without_consent(blocks: int, tags: int, *, max_ratio: float) -> bool:
    """Whether so many of all ``tags`` may be blocked in one go: three, or ``max_ratio`` of them if that is more."""
    return blocks <= max(ALWAYS_ALLOWED_BLOCKS, max_ratio * tags)
