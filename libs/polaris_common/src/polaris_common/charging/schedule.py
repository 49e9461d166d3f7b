"""The cadence as it is stored: the tier of every charge box, the fleet's, an operator's pin, when the next run is due.

Whoever writes here (the API, a hook, the sync-worker) enqueues ``Jobs.sync_run`` after the commit; the worker also
finds it on its next look, a few seconds later.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select, text, update

from polaris_common.db import Repository
from polaris_common.domain.cadence import BoxCadence, Tier
from polaris_common.models import SyncSchedule

MAX_PIN = timedelta(days=14)

_PROMOTE = text("""
INSERT INTO charger_cadence AS c (charge_box_id, tier, last_activity_at)
SELECT box, 'active', now() FROM unnest(CAST(:boxes AS text[])) AS box ORDER BY box
ON CONFLICT (charge_box_id) DO UPDATE SET tier = 'active', quiet_ticks = 0, last_activity_at = now()
WHERE c.tier <> 'active' OR c.quiet_ticks > 0 OR c.last_activity_at IS NULL
   OR c.last_activity_at < now() - interval '1 minute'
""")

_PROMOTE_ALL = text("""
INSERT INTO charger_cadence AS c (charge_box_id, tier, last_activity_at)
SELECT charge_box_id, 'active', now() FROM chargers WHERE gone_at IS NULL ORDER BY charge_box_id
ON CONFLICT (charge_box_id) DO UPDATE SET tier = 'active', quiet_ticks = 0, last_activity_at = now()
""")

_REMEMBER = text("""
INSERT INTO charger_cadence AS c (charge_box_id, last_activity_at)
SELECT box, least(at, now())
FROM unnest(CAST(:boxes AS text[]), CAST(:times AS timestamptz[])) AS v(box, at) ORDER BY box
ON CONFLICT (charge_box_id) DO UPDATE SET last_activity_at = greatest(c.last_activity_at, excluded.last_activity_at)
""")

_BOXES = text("""
SELECT c.charge_box_id, coalesce(k.tier, 'idle') AS tier, coalesce(k.quiet_ticks, 0) AS quiet_ticks,
    coalesce(k.last_activity_at > coalesce(k.evaluated_at, now() - CAST(:fresh AS interval)), false) AS stirred,
    now() - greatest(k.last_activity_at, c.first_seen_at, (SELECT max(detected_at) FROM tag_change_log)) AS quiet_for
FROM chargers AS c LEFT JOIN charger_cadence AS k ON k.charge_box_id = c.charge_box_id
WHERE c.gone_at IS NULL
ORDER BY c.charge_box_id
""")

_STORE = text("""
INSERT INTO charger_cadence AS c (charge_box_id, tier, quiet_ticks, evaluated_at)
SELECT box, tier, ticks, now()
FROM unnest(CAST(:boxes AS text[]), CAST(:tiers AS text[]), CAST(:ticks AS int[])) AS v(box, tier, ticks)
ON CONFLICT (charge_box_id) DO UPDATE SET tier = excluded.tier, quiet_ticks = excluded.quiet_ticks, evaluated_at = now()
""")

_FORGET_GONE = text("""
DELETE FROM charger_cadence AS k USING chargers AS c WHERE c.charge_box_id = k.charge_box_id AND c.gone_at IS NOT NULL
""")

_CHARGING = text("""
SELECT DISTINCT charge_box_id FROM charging_sessions
WHERE vanished_at IS NULL AND stopped_at IS NULL
  AND (state = 'open' OR quarantine_reason NOT IN ('zombie_superseded', 'zombie_silent'))
""")


@dataclass(frozen=True)
class Schedule:
    """The one row, with the database's time beside it."""

    now: datetime
    fleet: Tier
    pinned: Tier | None
    """The pin in force, if there is one."""
    pinned_until: datetime | None
    next_run_at: datetime | None
    evaluated_at: datetime | None
    nightly_pass_on: date | None

    @property
    def tier(self) -> Tier:
        """The tier that counts now."""
        return self.pinned or self.fleet


@dataclass(frozen=True)
class StoredBox:
    """One charge box, with what happened since it was last evaluated."""

    charge_box_id: str
    cadence: BoxCadence
    active: bool
    quiet_for: timedelta | None


class ScheduleRepository(Repository[SyncSchedule]):
    """Every query on the cadence."""

    model = SyncSchedule

    async def read(self) -> Schedule:
        """How things stand; a pin that has run out is none."""
        row, now = (await self.uow.session.execute(select(SyncSchedule, func.now()))).one()
        in_force = row.pinned_until is not None and row.pinned_until > now
        pinned = Tier(row.pinned_tier) if in_force and row.pinned_tier is not None else None
        return Schedule(
            now=now,
            fleet=Tier(row.tier),
            pinned=pinned,
            pinned_until=None if pinned is None else row.pinned_until,
            next_run_at=row.next_run_at,
            evaluated_at=row.evaluated_at,
            nightly_pass_on=row.nightly_pass_on,
        )

    async def pin(self, tier: Tier, lasting: timedelta) -> datetime:
        """Hold the fleet at ``tier``; when the pin ends.

        Raises:
            ValueError: not between an hour and fourteen days.
        """
        if not timedelta(hours=1) <= lasting <= MAX_PIN:
            raise ValueError("a pin lasts from one hour to fourteen days")
        until = func.now() + lasting
        statement = update(SyncSchedule).values(pinned_tier=tier.value, pinned_until=until)
        ends: datetime = (await self.uow.execute(statement.returning(SyncSchedule.pinned_until))).scalar_one()
        return ends

    async def unpin(self) -> None:
        """Let the cadence decide again."""
        await self.uow.execute(update(SyncSchedule).values(pinned_tier=None, pinned_until=None))

    async def promote(self, charge_box_ids: Collection[str]) -> None:
        """Something happened on these charge boxes (a transaction, a hook call, a tap): they are active at once."""
        if charge_box_ids:
            await self.uow.execute(_PROMOTE, {"boxes": list(charge_box_ids)})
            await self._fleet_is(Tier.ACTIVE)

    async def promote_all(self) -> None:
        """An operator wants to see something: the whole fleet is active at once."""
        await self.uow.execute(_PROMOTE_ALL)
        await self._fleet_is(Tier.ACTIVE)

    async def remember(self, latest: Mapping[str, datetime]) -> None:
        """When something last happened on charge boxes; long ago is no signal, but it counts against dormancy."""
        if latest:
            await self.uow.execute(_REMEMBER, {"boxes": list(latest), "times": list(latest.values())})

    async def charging(self) -> list[str]:
        """The charge boxes with an open session that is no zombie."""
        return list((await self.uow.execute(_CHARGING)).scalars())

    async def boxes(self, *, fresh: timedelta) -> list[StoredBox]:
        """Every charge box that SteVe still has; one never evaluated is active if it stirred within ``fresh``."""
        charging = set(await self.charging())
        rows = (await self.uow.execute(_BOXES, {"fresh": fresh})).all()
        return [
            StoredBox(
                row.charge_box_id,
                BoxCadence(Tier(row.tier), row.quiet_ticks),
                row.charge_box_id in charging or row.stirred,
                row.quiet_for,
            )
            for row in rows
        ]

    async def store(self, boxes: Sequence[tuple[str, BoxCadence]], fleet: Tier) -> None:
        """Keep the outcome of an evaluation."""
        await self.uow.execute(_FORGET_GONE)
        await self.uow.execute(
            _STORE,
            {
                "boxes": [charge_box_id for charge_box_id, _ in boxes],
                "tiers": [cadence.tier.value for _, cadence in boxes],
                "ticks": [cadence.quiet_ticks for _, cadence in boxes],
            },
        )
        await self.uow.execute(update(SyncSchedule).values(tier=fleet.value, evaluated_at=func.now()))

    async def begin_watch(self) -> None:
        """The first worker ever looks at the schedule."""
        statement = update(SyncSchedule).where(SyncSchedule.evaluated_at.is_(None)).values(evaluated_at=func.now())
        await self.uow.execute(statement)

    async def set_next_run(self, at: datetime) -> None:
        """For people: when the next run is due."""
        await self.uow.execute(update(SyncSchedule).values(next_run_at=at))

    async def owe_whole_pass(self) -> None:
        """The next run must read SteVe's whole table."""
        await self.uow.execute(update(SyncSchedule).values(nightly_pass_on=None))

    async def whole_pass_done(self, on: date) -> None:
        """SteVe's whole table has been read."""
        await self.uow.execute(update(SyncSchedule).values(nightly_pass_on=on))

    async def _fleet_is(self, tier: Tier) -> None:
        statement = update(SyncSchedule).where(SyncSchedule.tier != tier.value).values(tier=tier.value)
        await self.uow.execute(statement)
