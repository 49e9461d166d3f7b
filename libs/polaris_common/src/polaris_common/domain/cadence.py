"""How often to look: a tier per charge box, the fleet's tier, and when the next run is due.

Signals promote at once. Silence demotes one step at a time, after several quiet evaluations, and down to dormant only
after days without a session or a tag change. Not knowing (SteVe is unreachable) does neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cronsim import CronSim, CronSimError


class Tier(StrEnum):
    """How often a charge box, or the fleet, is looked at; in order of activity."""

    ACTIVE = "active"
    IDLE = "idle"
    DORMANT = "dormant"


_ORDER = list(Tier)


class InvalidCron(ValueError):
    """A text that is no cron expression, or one that never matches."""


@dataclass(frozen=True)
class CadencePolicy:
    """How an operator has set the cadence up."""

    active: timedelta = timedelta(minutes=15)
    idle: timedelta = timedelta(hours=1)
    dormant: timedelta = timedelta(weeks=1)
    hysteresis_ticks: int = 2
    """So many quiet evaluations in a row demote by one step."""
    dormant_after: timedelta = timedelta(days=30)
    """Without a session or a tag change for so long, idle may become dormant."""
    cron: str | None = None
    """A fixed schedule (UTC) in place of the tiers' intervals."""

    def interval(self, tier: Tier) -> timedelta:
        """How long after a run the next one is due in ``tier``."""
        return {Tier.ACTIVE: self.active, Tier.IDLE: self.idle, Tier.DORMANT: self.dormant}[tier]


@dataclass(frozen=True)
class BoxCadence:
    """Where one charge box stands."""

    tier: Tier = Tier.IDLE
    quiet_ticks: int = 0


@dataclass(frozen=True)
class Signals:
    """What was seen of a charge box since it was last evaluated."""

    active: bool
    """An open transaction, a new or changed session, a hook call, a tag in use, an operator's trigger."""
    quiet_for: timedelta | None
    """Since its last session or the last tag change; None: neither ever happened."""


def evaluate(box: BoxCadence, signals: Signals | None, policy: CadencePolicy) -> BoxCadence:
    """Where ``box`` stands after one evaluation; ``signals`` is None when SteVe could not be asked."""
    if signals is None:
        return box
    if signals.active:
        return BoxCadence(Tier.ACTIVE, 0)
    recent = signals.quiet_for is not None and signals.quiet_for < policy.dormant_after
    if box.tier is Tier.DORMANT:
        return BoxCadence(Tier.IDLE, 0) if recent else BoxCadence(Tier.DORMANT, 0)
    ticks = box.quiet_ticks + 1
    if ticks < policy.hysteresis_ticks:
        return replace(box, quiet_ticks=ticks)
    if box.tier is Tier.ACTIVE:
        return BoxCadence(Tier.IDLE, 0)
    return replace(box, quiet_ticks=policy.hysteresis_ticks) if recent else BoxCadence(Tier.DORMANT, 0)


def fleet_tier(tiers: Iterable[Tier]) -> Tier:
    """The most active of the charge boxes' tiers; a fleet without boxes is idle."""
    return min(tiers, key=_ORDER.index, default=Tier.IDLE)


@dataclass(frozen=True)
class Standing:
    """What the next run's time depends on; every time is the database's."""

    tier: Tier
    """The fleet's, or the one it is pinned to."""
    last_success_at: datetime | None
    failures: int = 0
    """Runs that failed since the last success."""
    last_failure_at: datetime | None = None
    last_cancelled_at: datetime | None = None
    """When an operator ended a run that had begun."""
    watched_since: datetime | None = None
    """When a worker first looked at the schedule."""


def next_run(standing: Standing, policy: CadencePolicy, *, now: datetime) -> datetime:
    """When the next run is due; ``now`` or earlier means at once.

    A fixed schedule counts from the last run of any outcome. Otherwise a run that failed is tried again: at once, then
    after 30 seconds, doubling up to the active interval. Who cancels a run does not want another one at once: it is due
    as after a run that has completed.
    """
    interval, cancelled = policy.interval(standing.tier), standing.last_cancelled_at
    if policy.cron is not None:
        ran = [at for at in (standing.last_success_at, standing.last_failure_at, cancelled) if at is not None]
        return next_match(policy.cron, after=max(ran, default=standing.watched_since or now))
    due = now if standing.last_success_at is None else standing.last_success_at + interval
    if standing.failures and standing.last_failure_at is not None:
        due = standing.last_failure_at + retry_after(standing.failures, policy)
    return due if cancelled is None else max(cancelled + interval, due)


def retry_after(failures: int, policy: CadencePolicy) -> timedelta:
    """How long to wait after the n-th failure in a row."""
    if failures <= 1:
        return timedelta()
    return min(timedelta(seconds=30 * 2 ** min(failures - 2, 16)), policy.active)


def next_match(cron: str, *, after: datetime) -> datetime:
    """The first time after ``after`` that the expression names (UTC, five fields).

    Raises:
        InvalidCron: it is no cron expression, or it never matches.
    """
    try:
        moment: datetime = next(CronSim(cron, after.astimezone(UTC)))
    except CronSimError as error:
        raise InvalidCron(f"is not a cron expression ({error})") from error
    except StopIteration:
        raise InvalidCron("never matches") from None
    return moment
