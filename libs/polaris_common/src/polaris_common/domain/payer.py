"""Who pays for a session: one decision for every path, always with a reason.

*Held* means "not yet": it is asked again when a mapping or a subscription appears. *Not billable* means never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from polaris_common.domain.tag_owner import MappingValue


class HoldReason(StrEnum):
    """Why a session waits."""

    UNMAPPED = "unmapped"
    NO_SUBSCRIPTION = "no_subscription"
    LAGO_NOT_MIRRORED = "waiting_lago"
    IMPLAUSIBLE = "implausible"
    """The session is quarantined; an operator must look."""
    OVERBILLED = "waiting_correction"
    """More was sliced than the final meter value allows; an operator must correct it."""


class NeverReason(StrEnum):
    """Why a session is not billed at all."""

    COMPED = "comped"
    ZERO_ENERGY = "zero_energy"


@dataclass(frozen=True)
class SubscriptionValue:
    """What the rule needs of a Lago subscription."""

    external_id: str
    external_customer_id: str
    status: str


@dataclass(frozen=True)
class Pays:
    """This subscription pays."""

    subscription_external_id: str


@dataclass(frozen=True)
class Held:
    """Nobody pays yet."""

    reason: HoldReason


@dataclass(frozen=True)
class Never:
    """Nobody ever pays."""

    reason: NeverReason


Decision = Pays | Held | Never


def decide(owner: MappingValue | None, subscriptions: Sequence[SubscriptionValue], *, lago_mirrored: bool) -> Decision:
    """Who pays for a session of a tag that ``owner`` answers for.

    ``subscriptions``: the mirrored ones of the owner's customer, or the one the mapping names. ``lago_mirrored``: the
    mirror has been filled at least once, so that an absence means something.
    """
    if owner is None:
        return Held(HoldReason.UNMAPPED)
    if owner.billing_tier == "comped":
        return Never(NeverReason.COMPED)
    if not lago_mirrored:
        return Held(HoldReason.LAGO_NOT_MIRRORED)
    active = sorted(sub.external_id for sub in subscriptions if sub.status == "active" and _belongs(sub, owner))
    return Pays(active[0]) if active else Held(HoldReason.NO_SUBSCRIPTION)


def _belongs(subscription: SubscriptionValue, owner: MappingValue) -> bool:
    if owner.lago_subscription_external_id is not None:
        return subscription.external_id == owner.lago_subscription_external_id
    return subscription.external_customer_id == owner.lago_customer_external_id
