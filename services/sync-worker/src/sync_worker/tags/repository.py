"""The mirror of SteVe's tags, the log of their changes, and what their limits depend on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, Integer, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from polaris_common.db import Repository
from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.tag_owner import MAX_DEPTH, MappingValue
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.models import ComponentHealth, LagoSubscription, OcppTag, TagChange, TagMapping
from polaris_common.observability.health import Component
from polaris_common.steve import SteveTag
from sync_worker.tags.plan import LinkedTag

CHUNK = 1_000

_TAG = select(
    OcppTag.ocpp_tag_pk,
    OcppTag.id_tag,
    OcppTag.parent_id_tag,
    OcppTag.max_active_transaction_count,
    OcppTag.expiry_date,
    OcppTag.note,
).where(OcppTag.deleted_at.is_(None))


@dataclass(frozen=True)
class DueMapping:
    """A mapping that has changed since the sync-worker last looked at it."""

    id: int
    id_tag: str
    revision: int
    is_new: bool


class OcppTagRepository(Repository[OcppTag]):
    """Every query on the tag mirror."""

    model = OcppTag

    async def by_pk(self) -> dict[int, SteveTag]:
        """The whole mirror."""
        return {tag.ocpp_tag_pk: tag for tag in await self._tags(_TAG)}

    async def count(self) -> int:
        """How many tags the mirror has."""
        query = select(func.count()).select_from(OcppTag).where(OcppTag.deleted_at.is_(None))
        return await self.uow.session.scalar(query) or 0

    async def related(self, id_tags: Iterable[str]) -> dict[str, SteveTag]:
        """The tags with all their ancestors and all their descendants; keys in lower case."""
        found: dict[str, SteveTag] = {}
        up = down = {tag.lower() for tag in id_tags}
        for _ in range(MAX_DEPTH):
            if not up and not down:
                break
            name, parent = func.lower(OcppTag.id_tag), func.lower(OcppTag.parent_id_tag)
            query = _TAG.where(or_(name.in_(up | down), parent.in_(down)))
            tags = {tag.id_tag.lower(): tag for tag in await self._tags(query)}
            below = {key for key, tag in tags.items() if (tag.parent_id_tag or "").lower() in down}
            above = {tag.parent_id_tag.lower() for tag in tags.values() if tag.parent_id_tag}
            up, down = above - found.keys() - tags.keys(), below - found.keys()
            found |= tags
        return found

    async def store(self, tags: Sequence[SteveTag]) -> None:
        """Make the mirror show ``tags``; rows of the same idTags with other pks are marked deleted."""
        for begin in range(0, len(tags), CHUNK):
            chunk = tags[begin : begin + CHUNK]
            await self.uow.execute(
                update(OcppTag)
                .where(
                    OcppTag.deleted_at.is_(None),
                    func.lower(OcppTag.id_tag).in_([tag.id_tag.lower() for tag in chunk]),
                    OcppTag.ocpp_tag_pk.not_in([tag.ocpp_tag_pk for tag in chunk]),
                )
                .values(deleted_at=func.now())
            )
            statement = upsert(OcppTag).values([_values(tag) for tag in chunk])
            changes = {name: statement.excluded[name] for name in _values(chunk[0]) if name != "ocpp_tag_pk"}
            await self.uow.execute(statement.on_conflict_do_update(index_elements=["ocpp_tag_pk"], set_=changes))

    async def gone(self, pks: Iterable[int]) -> None:
        """Mark tags that SteVe no longer has."""
        await self.uow.execute(
            update(OcppTag)
            .where(OcppTag.deleted_at.is_(None), OcppTag.ocpp_tag_pk == func.any(literal(list(pks), ARRAY(Integer))))
            .values(deleted_at=func.now())
        )

    async def _tags(self, query: Executable) -> list[SteveTag]:
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return [SteveTag(*row) for row in rows]


class TagChangeRepository(Repository[TagChange]):
    """The log of changes."""

    model = TagChange

    async def add(
        self, changes: Iterable[tuple[SteveTag | None, SteveTag]], *, reason: str, run_id: int | None
    ) -> None:
        """Log tags before (None: there was none) and after."""
        rows = [
            {
                "ocpp_tag_pk": after.ocpp_tag_pk,
                "id_tag": after.id_tag,
                "change_type": _change_type(before, after),
                "before": None if before is None else _loggable(before),
                "after": _loggable(after),
                "reason": reason,
                "sync_run_id": run_id,
            }
            for before, after in changes
        ]
        for begin in range(0, len(rows), CHUNK):
            await self.uow.execute(insert(TagChange), rows[begin : begin + CHUNK])


class LinkRepository(Repository[TagMapping]):
    """What limits depend on: mappings, subscriptions, and how far Lago has been read."""

    model = TagMapping

    async def links(self, names: Collection[str] | None = None) -> dict[str, LinkedTag]:
        """The mappings of the tags (lower case), or all; keys in lower case."""
        query = select(
            TagMapping.id,
            TagMapping.is_active,
            TagMapping.user_id,
            TagMapping.lago_customer_external_id,
            TagMapping.lago_subscription_external_id,
            TagMapping.billing_tier,
            TagMapping.id_tag,
            TagMapping.tag_type,
            TagMapping.deactivation_reason,
            TagMapping.updated_at,
        )
        if names is not None:
            query = query.where(func.lower(TagMapping.id_tag).in_(names))
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return {
            row.id_tag.lower(): LinkedTag(MappingValue(*row[:6]), row.tag_type, row.deactivation_reason, row.updated_at)
            for row in rows
        }

    async def any_mapping(self) -> bool:
        """Whether there is one mapping at all."""
        return await self.uow.session.scalar(select(TagMapping.id).limit(1)) is not None

    async def subscriptions(self, links: Mapping[str, LinkedTag] | None = None) -> list[SubscriptionValue]:
        """The mirrored subscriptions of the links' customers and those they name, or all."""
        query = select(
            LagoSubscription.external_id,
            LagoSubscription.external_customer_id,
            LagoSubscription.status,
            LagoSubscription.deleted_at.is_not(None).label("gone"),
        )
        if links is not None:
            owners = [link.value for link in links.values()]
            customers = {each.lago_customer_external_id for each in owners} - {None}
            named = {each.lago_subscription_external_id for each in owners} - {None}
            query = query.where(
                or_(
                    LagoSubscription.external_customer_id.in_(customers),
                    LagoSubscription.external_id.in_(named),
                )
            )
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return [SubscriptionValue(row[0], row[1], "terminated" if row.gone else row.status) for row in rows]

    async def lago_read_at(self) -> datetime | None:
        """When all of Lago's subscriptions were last read completely."""
        query = select(ComponentHealth.last_success_at).where(ComponentHealth.component == Component.LAGO_MIRROR)
        read_at: datetime | None = await self.uow.session.scalar(query)
        return read_at

    async def due(self, limit: int) -> list[DueMapping]:
        """Mappings that have changed since the sync-worker looked at them; those switched off come first."""
        query = (
            select(TagMapping.id, TagMapping.id_tag, TagMapping.revision, TagMapping.synced_revision == 0)
            .where(TagMapping.synced_revision < TagMapping.revision)
            .order_by(TagMapping.is_active, TagMapping.id)
            .limit(limit)
        )
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return [DueMapping(*row) for row in rows]

    async def looked_at(self, mappings: Iterable[DueMapping]) -> None:
        """Note that the mappings have been looked at as they were then; later changes stay due."""
        for mapping in mappings:
            await self.uow.execute(
                update(TagMapping).where(TagMapping.id == mapping.id).values(synced_revision=mapping.revision)
            )

    async def tell_not_taken(self, mappings: Iterable[DueMapping]) -> None:
        """Operators hear, once for each change, that SteVe has not taken it."""
        missed = {mapping.id: mapping.revision for mapping in mappings}
        new = []
        for mapping_id, revision in sorted(missed.items()):
            told = update(TagMapping).where(TagMapping.id == mapping_id, TagMapping.told_revision < revision)
            if await self.uow.write(told.values(told_revision=revision)):
                new.append(mapping_id)
        if new:
            self.uow.emit(
                OperatorNotice(
                    kind="steve_sync_failed",
                    severity="error",
                    source_type="mapping",
                    source_id=str(new[0]),
                    detail=str(len(new)),
                )
            )

    async def learn_pks(self) -> None:
        """Bring the mappings' SteVe pks to the mirror's: a tag deleted and made again has another."""
        same = func.lower(TagMapping.id_tag) == func.lower(OcppTag.id_tag)
        theirs = select(OcppTag.ocpp_tag_pk).where(same, OcppTag.deleted_at.is_(None)).scalar_subquery()
        stale = TagMapping.ocpp_tag_pk.is_distinct_from(theirs)
        forget = update(TagMapping).where(TagMapping.ocpp_tag_pk.is_not(None), theirs.is_not(None), stale)
        await self.uow.execute(forget.values(ocpp_tag_pk=None))
        await self.uow.execute(
            update(TagMapping).where(TagMapping.ocpp_tag_pk.is_(None), theirs.is_not(None)).values(ocpp_tag_pk=theirs)
        )


def _values(tag: SteveTag) -> dict[str, object]:
    return {
        "ocpp_tag_pk": tag.ocpp_tag_pk,
        "id_tag": tag.id_tag,
        "parent_id_tag": tag.parent_id_tag,
        "max_active_transaction_count": tag.max_active_transaction_count,
        "expiry_date": tag.expiry_date,
        "note": tag.note,
        "deleted_at": None,
    }


def _loggable(tag: SteveTag) -> dict[str, object]:
    return {
        "maxActiveTransactionCount": tag.max_active_transaction_count,
        "parentIdTag": tag.parent_id_tag,
        "expiryDate": None if tag.expiry_date is None else tag.expiry_date.isoformat(),
        "note": tag.note,
    }


def _change_type(before: SteveTag | None, after: SteveTag) -> str:
    if before is None:
        return "created"
    was, now = before.max_active_transaction_count, after.max_active_transaction_count
    if was == now or (was != 0 and now != 0):
        return "updated"
    return "deactivated" if now == 0 else "activated"
