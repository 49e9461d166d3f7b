"""Carrying out a plan, tag by tag: decide once more, write, log, and look whether a person was faster.

Tags of our own are made here too, by the same decision.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.tag_limit import BLOCKED, LimitDecision
from polaris_common.interruption import interruptible_by, stop_if_asked
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveTag, SteveUnavailable
from polaris_common.steve.tag_calls import NewTag, create_tag, tag_by_id
from sync_worker.tags.outcome import TagOutcome, TagWarning
from sync_worker.tags.plan import Planned, Snapshot
from sync_worker.tags.repository import LinkRepository, OcppTagRepository, TagChangeRepository
from sync_worker.tags.steve_writer import TagWrite, WriteResult, set_limit

log = structlog.get_logger(__name__)

Progress = Callable[[], Awaitable[None]]

STEVE_ERRORS = (SteveUnavailable, SteveProtocolError, SteveRefused)
GIVE_UP_AFTER = 3
"""So many tags in a row without an answer: SteVe is away."""


class LimitWrites:
    """Writes limits to SteVe."""

    def __init__(self, database: Database, steve: SteveClient, *, protected: frozenset[str]) -> None:
        self._database, self._steve, self._protected = database, steve, protected

    async def carry_out(
        self,
        planned: Sequence[Planned],
        outcome: TagOutcome,
        *,
        run_id: int | None,
        progress: Progress | None = None,
    ) -> set[str]:
        """Write each tag whose plan still holds, counting in ``outcome``; ``progress`` is called after each.

        The idTags (lower case) that got no clear answer: trying again soon helps them, and only them.
        """
        unanswered: list[str] = []
        in_a_row = 0
        for position, each in enumerate(planned):
            stop_if_asked()
            with interruptible_by(None):
                answered = await self._try(each, outcome, run_id)
            if progress is not None:
                await progress()
            in_a_row = 0 if answered else in_a_row + 1
            if not answered:
                unanswered.append(each.tag.id_tag.lower())
            if in_a_row >= GIVE_UP_AFTER:
                outcome.warn(TagWarning.STEVE_UNREACHABLE)
                rest = [skipped.tag.id_tag.lower() for skipped in planned[position + 1 :]]
                outcome.failed += len(rest)
                unanswered += rest
                break
        return set(unanswered)

    async def snapshot(self, uow: UnitOfWork, tags: Mapping[str, SteveTag]) -> Snapshot:
        """What the database says at this moment about ``tags`` and their families; ``tags`` themselves are as given."""
        family = {**await OcppTagRepository(uow).related(tags), **tags}
        links = await LinkRepository(uow).links(family.keys())
        return Snapshot(
            family,
            links,
            await LinkRepository(uow).subscriptions(links),
            await LinkRepository(uow).lago_read_at(),
            self._protected,
        )

    async def decide_now(self, tag: SteveTag) -> LimitDecision:
        """The decision on a tag, from what the database says at this moment."""
        async with self._database.unit_of_work() as uow:
            snapshot = await self.snapshot(uow, {tag.id_tag.lower(): tag})
        return snapshot.decide(tag.id_tag)

    async def find_or_create(self, id_tag: str, *, note: str, parent: str | None = None) -> tuple[SteveTag, bool]:
        """A tag of ours, and whether it was made just now: with the limit that it should have.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: it may or may not exist now.
        """
        existing = await tag_by_id(self._steve, id_tag)
        if existing is not None:
            return existing, False
        # A tag that does not exist yet lets nobody charge: what is not known keeps it that way.
        decision = await self.decide_now(SteveTag(0, id_tag, parent, BLOCKED, None, note))
        limit = BLOCKED if decision.limit is None else decision.limit
        return await create_tag(self._steve, NewTag(id_tag, limit, parent_id_tag=parent, note=note))

    async def _try(self, planned: Planned, outcome: TagOutcome, run_id: int | None) -> bool:
        """Write one tag; False when it stays unknown what SteVe has now."""
        try:
            if await self._write(planned, outcome, run_id):
                return True
        except STEVE_ERRORS as error:
            log.warning("tag_write_failed", id_tag=planned.tag.id_tag, reason=str(error))
            outcome.failed += 1
            if isinstance(error, SteveRefused):
                outcome.refused.append(planned.tag.id_tag.lower())
                return True
            return False
        outcome.failed += 1
        return False

    async def _write(self, planned: Planned, outcome: TagOutcome, run_id: int | None) -> bool:
        """Write one tag; False when SteVe took the write and has another limit all the same."""
        limit = planned.decision.limit
        if limit is None or (await self.decide_now(planned.tag)).limit != limit:
            outcome.held += 1
            return True
        write = await set_limit(self._steve, planned.tag, limit)
        await self._record(write, planned.decision, outcome, run_id)
        if limit != BLOCKED and write.after is not None:
            await self._close_again(write.after, outcome, run_id)
            return True
        return write.after is None or write.after.max_active_transaction_count == limit or _left_alone(write)

    async def _close_again(self, opened: SteveTag, outcome: TagOutcome, run_id: int | None) -> None:
        """Somebody may have switched the tag off, and that been written, between our decision and our write."""
        decision = await self.decide_now(opened)
        if decision.limit == BLOCKED:
            await self._record(await set_limit(self._steve, opened, BLOCKED), decision, outcome, run_id)

    async def _record(self, write: TagWrite, decision: LimitDecision, outcome: TagOutcome, run_id: int | None) -> None:
        if _left_alone(write):
            outcome.held += 1
        if write.result not in (WriteResult.WRITTEN, WriteResult.GONE):
            return
        async with self._database.unit_of_work() as uow:
            mirror = OcppTagRepository(uow)
            if write.after is None:
                await mirror.gone([write.before.ocpp_tag_pk])
                return
            await mirror.store([write.after])
            await TagChangeRepository(uow).add([(write.before, write.after)], reason=decision.reason, run_id=run_id)
        _count(write.before, write.after, outcome)


def _left_alone(write: TagWrite) -> bool:
    return write.result in (WriteResult.MOVED, WriteResult.EXPIRED)


def _count(before: SteveTag, after: SteveTag, outcome: TagOutcome) -> None:
    was, now = before.max_active_transaction_count, after.max_active_transaction_count
    if now == BLOCKED and was != BLOCKED:
        outcome.deactivated += 1
    elif was == BLOCKED and now != BLOCKED:
        outcome.activated += 1
    else:
        outcome.updated += 1
