"""Keeping the limits of SteVe's tags as mappings and subscriptions say, and never blocking on a doubt."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from polaris_common.charging.tag_consents import Consents, TagConsentRepository
from polaris_common.db import Database
from polaris_common.domain.tag_owner import lineage
from polaris_common.interruption import interruptible_by, stop_if_asked
from polaris_common.steve import SteveClient
from polaris_common.steve.tag_calls import expired_tag_pks
from sync_worker.tags.app_tags import AppTags
from sync_worker.tags.guard import Verdict, judge_run, judge_sweep
from sync_worker.tags.meta_tags import MetaTag, MetaTags
from sync_worker.tags.mirror import Mirrored, read_tags, refresh_mirror
from sync_worker.tags.outcome import TagOutcome, TagWarning
from sync_worker.tags.plan import Planned, Snapshot
from sync_worker.tags.repository import LinkRepository, OcppTagRepository
from sync_worker.tags.writes import STEVE_ERRORS, LimitWrites, Progress

log = structlog.get_logger(__name__)

DUE_MAPPINGS = 200
"""So many changed mappings are looked at in one sweep."""

NEW_META_TAGS = 100
"""So many missing meta tags are made in one run."""
NEW_APP_TAGS = 100
"""The same of phones' tags."""


@dataclass(frozen=True)
class TagPolicy:
    """What an operator configures."""

    enabled: bool = True
    max_block_ratio: float = 0.10
    protected: frozenset[str] = frozenset()
    """IdTags in any case."""


async def mirror_tags(database: Database, steve: SteveClient) -> int:
    """Bring the mirror to SteVe's complete list; the number of tags.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the mirror stays as it is.
    """
    return len((await refresh_mirror(database, steve)).tags)


class TagSync:
    """The tag segment of a run, and what happens to single tags between runs.

    Every method raises SteveUnavailable, SteveProtocolError or SteveRefused when SteVe cannot be read at all, and
    SQLAlchemy's errors when the database cannot: nothing has been blocked then. A tag that alone cannot be written is
    counted as failed.
    """

    def __init__(self, database: Database, steve: SteveClient, policy: TagPolicy | None = None) -> None:
        self._database, self._steve = database, steve
        self._policy = policy or TagPolicy()
        self._protected = frozenset(tag.lower() for tag in self._policy.protected)
        self._writes = LimitWrites(database, steve, protected=self._protected)
        self._meta = MetaTags(database, steve, self._writes)
        self._apps = AppTags(database, self._writes, self._meta)

    async def reconcile_tags(
        self, run_id: int | None = None, outcome: TagOutcome | None = None, *, progress: Progress | None = None
    ) -> TagOutcome:
        """Mirror SteVe's tags and bring every limit to the policy's, as far as the guard allows.

        ``outcome`` counts what is done while it is done; ``progress`` is called after each tag that was written.
        """
        outcome = TagOutcome() if outcome is None else outcome
        mirrored = await refresh_mirror(self._database, self._steve, run_id=run_id)
        outcome.seen, outcome.new = len(mirrored.tags), mirrored.new
        if not mirrored.complete:
            outcome.warn(TagWarning.LIST_INCOMPLETE)
        if not self._policy.enabled:
            outcome.warn(TagWarning.DISABLED)
            return outcome
        snapshot, consents = await self._read_all(mirrored)
        planned = await self._without_expired(snapshot.plan(mirrored.tags), outcome)
        blocks = [each for each in planned if each.blocks]
        verdict = self._judge(blocks, snapshot, mirrored, consents, outcome)
        opens = [each for each in planned if not each.blocks]
        unanswered = await self._writes.carry_out([*verdict.allowed, *opens], outcome, run_id=run_id, progress=progress)
        if mirrored.complete and snapshot.links:
            await self._note_consents(verdict, consents, unanswered, run_id)
        await self._make_missing_meta_tags(outcome)
        await self._make_missing_app_tags(outcome)
        log.info("tags_reconciled", run=run_id, **_counts(outcome))
        return outcome

    async def sync_tags(self, id_tags: Iterable[str]) -> TagOutcome:
        """Bring these tags, and those that inherit from them, to the policy's limit now."""
        return (await self._sync(id_tags))[0]

    async def sync_changed_mappings(self) -> TagOutcome:
        """Carry every mapping that has changed since the last look to SteVe: a lost card is refused within seconds.

        Cheap when nothing has changed: one query. What got no answer stays due.
        """
        outcome = TagOutcome()
        if not self._policy.enabled:
            return outcome
        async with self._database.unit_of_work() as uow:
            due = await LinkRepository(uow).due(DUE_MAPPINGS)
        if not due:
            return outcome
        try:
            outcome, unanswered = await self._sync([mapping.id_tag for mapping in due])
        except STEVE_ERRORS:
            async with self._database.unit_of_work() as uow:
                await LinkRepository(uow).tell_not_taken(due)
            raise
        await self._meta.adopt([mapping.id for mapping in due if mapping.is_new])
        await self._apps.make_missing(DUE_MAPPINGS, [mapping.id for mapping in due])
        async with self._database.unit_of_work() as uow:
            links, missed = LinkRepository(uow), unanswered | set(outcome.refused)
            await links.looked_at(each for each in due if each.id_tag.lower() not in unanswered)
            await links.tell_not_taken(each for each in due if each.id_tag.lower() in missed)
        log.info("changed_mappings_synced", mappings=len(due), **_counts(outcome))
        return outcome

    async def ensure_meta_tag(self, user_id: UUID) -> MetaTag | None:
        """The customer's meta tag in SteVe, made if it is missing, and parent of the customer's orphan tags.

        None for somebody who is no customer of Lago.
        """
        return await self._meta.ensure(user_id) if self._policy.enabled else None

    async def _sync(self, id_tags: Iterable[str]) -> tuple[TagOutcome, set[str]]:
        outcome, names = TagOutcome(), {tag.lower() for tag in id_tags}
        if not self._policy.enabled:
            outcome.warn(TagWarning.DISABLED)
            return outcome, set()
        async with self._database.unit_of_work() as uow:
            family = await OcppTagRepository(uow).related(names)
        parents = {name: tag.parent_id_tag for name, tag in family.items()}
        below = {name for name in family if names.intersection(lineage(name, parents))}
        tags = await read_tags(self._database, self._steve, names | below)
        outcome.seen = len(tags)
        async with self._database.unit_of_work() as uow:
            snapshot = await self._writes.snapshot(uow, tags)
            any_mapping = await LinkRepository(uow).any_mapping()
            count = await OcppTagRepository(uow).count()
            consents = await TagConsentRepository(uow).current()
        planned = await self._without_expired(snapshot.plan(tags), outcome)
        blocks = [each for each in planned if each.blocks]
        verdict = Verdict((), blocks, warning=TagWarning.NO_MAPPINGS if blocks else None)
        if any_mapping:
            ratio = self._policy.max_block_ratio
            verdict = judge_sweep(blocks, tags=count, consents=consents, max_ratio=ratio)
        _note_held(verdict, outcome)
        opens = [each for each in planned if not each.blocks]
        return outcome, await self._writes.carry_out([*verdict.allowed, *opens], outcome, run_id=None)

    async def _read_all(self, mirrored: Mirrored) -> tuple[Snapshot, Consents]:
        async with self._database.unit_of_work() as uow:
            links = LinkRepository(uow)
            await links.learn_pks()
            snapshot = Snapshot(
                mirrored.tags,
                await links.links(),
                await links.subscriptions(),
                await links.lago_read_at(),
                self._protected,
            )
            return snapshot, await TagConsentRepository(uow).current()

    async def _without_expired(self, planned: Sequence[Planned], outcome: TagOutcome) -> list[Planned]:
        """Expired tags stay as they are; by SteVe's clock, which is the one that counts at the charger."""
        if not any(each.tag.expiry_date for each in planned):
            return list(planned)
        expired = await expired_tag_pks(self._steve)
        writable = [each for each in planned if each.tag.ocpp_tag_pk not in expired]
        outcome.held += len(planned) - len(writable)
        return writable

    def _judge(
        self,
        blocks: Sequence[Planned],
        snapshot: Snapshot,
        mirrored: Mirrored,
        consents: Consents,
        outcome: TagOutcome,
    ) -> Verdict:
        if not mirrored.complete:
            verdict = Verdict((), blocks)
        elif not snapshot.links:
            verdict = Verdict((), blocks, warning=TagWarning.NO_MAPPINGS if blocks else None)
        else:
            ratio = self._policy.max_block_ratio
            verdict = judge_run(blocks, tags=len(mirrored.tags), consents=consents, max_ratio=ratio)
        _note_held(verdict, outcome)
        return verdict

    async def _note_consents(
        self, verdict: Verdict, consents: Consents, unanswered: Collection[str], run_id: int | None
    ) -> None:
        async with self._database.unit_of_work() as uow:
            repository = TagConsentRepository(uow)
            if verdict.ask:
                await repository.ask(run_id, verdict.ask)
            else:
                await repository.withdraw()
            if consents.approved:
                await repository.use_up(consents.approved - set(unanswered))

    async def _make_missing_meta_tags(self, outcome: TagOutcome) -> None:
        if TagWarning.STEVE_UNREACHABLE in outcome.warnings:
            return
        for user_id in await self._meta.missing(NEW_META_TAGS):
            stop_if_asked()
            try:
                with interruptible_by(None):
                    await self._meta.ensure(user_id)
            except STEVE_ERRORS as error:
                log.warning("meta_tag_failed", user=str(user_id), reason=str(error))
                outcome.failed += 1
                return

    async def _make_missing_app_tags(self, outcome: TagOutcome) -> None:
        if TagWarning.STEVE_UNREACHABLE in outcome.warnings:
            return
        try:
            await self._apps.make_missing(NEW_APP_TAGS)
        except STEVE_ERRORS as error:
            log.warning("app_tag_failed", reason=str(error))
            outcome.failed += 1


def _note_held(verdict: Verdict, outcome: TagOutcome) -> None:
    outcome.held += len(verdict.held)
    if verdict.warning is not None:
        outcome.warn(verdict.warning)


def _counts(outcome: TagOutcome) -> dict[str, object]:
    return {
        "seen": outcome.seen,
        "activated": outcome.activated,
        "deactivated": outcome.deactivated,
        "held": outcome.held,
        "failed": outcome.failed,
        "warnings": [str(warning) for warning in outcome.warnings],
    }
