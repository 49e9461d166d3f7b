"""Who pays for a piece of energy, and in which period it counts: one decision for every path, always with a reason.

*Held* means "not yet": it is asked again when a mapping, a subscription or a plan appears. *Never* means never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from polaris_common.domain.tag_owner import MappingValue


class HoldReason(StrEnum):
    """Why a session waits."""

    UNMAPPED = "unmapped"
    NO_SUBSCRIPTION = "no_subscription"
    LAGO_NOT_MIRRORED = "waiting_lago"
    IMPLAUSIBLE = "implausible"
    """The session is quarantined; an operator must look."""


class NeverReason(StrEnum):
    """Why a session is not billed at all."""

    COMPED = "comped"
    FLAT_RATE = "flat_rate"
    """The plan has no charge for energy: the driver pays otherwise."""
    ZERO_ENERGY = "zero_energy"


@dataclass(frozen=True)
class SubscriptionValue:
    """What the rule needs of a Lago subscription."""

    external_id: str
    external_customer_id: str
    status: str
    started_at: datetime | None = None
    period_started_at: datetime | None = None
    period_ending_at: datetime | None = None
    mirrored_at: datetime | None = None
    """When Lago told us all this."""
    charges_energy: bool | None = True
    """Whether its plan has a charge for our metric; None when the plan is not known yet."""
    ended_at: datetime | None = None
    """When it was terminated."""

    def in_force(self, moment: datetime) -> bool:
        """Whether it ran at that time, as far as is known."""
        begun = self.started_at is not None and self.started_at <= moment
        return begun and (moment < self.ended_at if self.ended_at is not None else self.status == "active")

    def open_since(self, now: datetime) -> datetime | None:
        """The earliest moment that Lago still bills: the start of the running period, or of the subscription.

        A period that has ended since Lago told us of it counts as closed.
        """
        period, end, told = self.period_started_at, self.period_ending_at, self.mirrored_at
        if end is not None and end < now and (told is None or told <= end):
            period = end
        if period is None or self.started_at is None:
            return period or self.started_at
        return max(period, self.started_at)


@dataclass(frozen=True)
class Pays:
    """This subscription pays."""

    subscription_external_id: str
    stamp: datetime
    """The time of the Lago event."""
    late: bool
    """Lago has closed the period of the energy already; ``stamp`` is in the open one."""


@dataclass(frozen=True)
class Held:
    """Nobody pays yet."""

    reason: HoldReason


@dataclass(frozen=True)
class Never:
    """Nobody ever pays."""

    reason: NeverReason


Decision = Pays | Held | Never


def decide(
    owner: MappingValue | None,
    subscriptions: Sequence[SubscriptionValue],
    *,
    lago_mirrored: bool,
    usage_at: datetime,
    now: datetime,
    unsold_since: datetime | None = None,
) -> Decision:
    """Who pays for energy of ``usage_at`` on a tag that ``owner`` answers for.

    ``subscriptions``: the mirrored ones of the owner's customer, or the one the mapping names. ``lago_mirrored``: the
    mirror has been complete once, so that an absence means something. ``unsold_since``: the start of a session of which
    nothing is sold yet; one that began on a flat rate stays there whatever plan the driver has by now.
    """
    if owner is None:
        return Held(HoldReason.UNMAPPED)
    if owner.billing_tier == "comped":
        return Never(NeverReason.COMPED)
    if not lago_mirrored:
        return Held(HoldReason.LAGO_NOT_MIRRORED)
    if unsold_since is not None and _flat_rate_at(unsold_since, owner, subscriptions):
        return Never(NeverReason.FLAT_RATE)
    active = [each for each in subscriptions if each.status == "active" and _belongs(each, owner)]
    if not active:
        return Held(HoldReason.NO_SUBSCRIPTION)
    paying = [each for each in active if each.charges_energy]
    if not paying:
        unknown = any(each.charges_energy is None for each in active)
        return Held(HoldReason.LAGO_NOT_MIRRORED) if unknown else Never(NeverReason.FLAT_RATE)
    choices = (charged_to(each, usage_at=usage_at, now=now) for each in paying)
    return min(choices, key=lambda pays: (pays.late, pays.subscription_external_id))


def charged_to(subscription: SubscriptionValue, *, usage_at: datetime, now: datetime) -> Pays:
    """The subscription pays for energy of ``usage_at``, with a stamp that Lago bills.

    That is the time of use while its period is open. It is never later than now, whatever a station's clock says: Lago
    bills a moment of the next century in the next century. Nor is it before the open period, should our clock be
    behind Lago's.
    """
    open_since = subscription.open_since(now)
    late = open_since is not None and usage_at < open_since
    stamp = now if late else min(usage_at, now)
    return Pays(subscription.external_id, stamp if open_since is None else max(stamp, open_since), late)


def _flat_rate_at(moment: datetime, owner: MappingValue, subscriptions: Sequence[SubscriptionValue]) -> bool:
    in_force = [each for each in subscriptions if each.in_force(moment) and _belongs(each, owner)]
    return bool(in_force) and all(each.charges_energy is False for each in in_force)


def _belongs(subscription: SubscriptionValue, owner: MappingValue) -> bool:
    if owner.lago_subscription_external_id is not None:
        return subscription.external_id == owner.lago_subscription_external_id
    return subscription.external_customer_id == owner.lago_customer_external_id
