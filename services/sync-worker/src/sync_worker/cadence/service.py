"""Evaluating the cadence: after every run, for every charge box."""

from polaris_common.charging.schedule import ScheduleRepository, StoredBox
from polaris_common.charging.sync_runs import SegmentRecord
from polaris_common.clock import to_wire
from polaris_common.db import Database
from polaris_common.domain.cadence import (
    CadencePolicy,
    Signals,
    Standing,
    Tier,
    evaluate,
    fleet_tier,
    next_run,
)


class Cadence:
    """Decides how often to look, from what was seen."""

    def __init__(self, database: Database, policy: CadencePolicy) -> None:
        self._database, self._policy = database, policy

    async def evaluate(self, record: SegmentRecord, *, reachable: bool) -> None:
        """Move every charge box up or down and say what became of the fleet.

        ``reachable``: SteVe answered throughout the run; if not, nothing is known and every tier stays.
        """
        async with self._database.unit_of_work() as uow:
            schedule = ScheduleRepository(uow)
            before = await schedule.read()
            boxes = await schedule.boxes(fresh=self._policy.active)
            moved = [(box, evaluate(box.cadence, _signals(box, reachable=reachable), self._policy)) for box in boxes]
            fleet = fleet_tier(cadence.tier for _, cadence in moved) if reachable else before.fleet
            if reachable:
                await schedule.store([(box.charge_box_id, cadence) for box, cadence in moved], fleet)
        record.counts.seen = len(boxes)
        record.counts.changed = sum(box.cadence.tier is not cadence.tier for box, cadence in moved)
        tier = before.pinned or fleet
        standing = Standing(tier, last_success_at=before.now, watched_since=before.now)
        await record.log(
            "info",
            "Cadence evaluated",
            **{
                "from": before.tier.value,
                "to": tier.value,
                "reason": _reason(boxes, tier, reachable=reachable, pinned=before.pinned),
                "pattern": self._policy.cron or f"every {self._policy.interval(tier)}",
                "nextRunAt": to_wire(next_run(standing, self._policy, now=before.now)),
                "pinned": before.pinned is not None,
            },
        )


def _signals(box: StoredBox, *, reachable: bool) -> Signals | None:
    return Signals(box.active, box.quiet_for) if reachable else None


def _reason(boxes: list[StoredBox], tier: Tier, *, reachable: bool, pinned: Tier | None) -> str:
    if pinned is not None:
        return "pinned"
    if not reachable:
        return "steve_unreachable"
    active = sum(box.active for box in boxes)
    return f"{active} of {len(boxes)} charge boxes active" if active else f"quiet, {tier.value}"
