"""One meta tag per customer: what remote starts use, and the common parent of the customer's cards.

Nothing is ever deleted in SteVe: deleting a tag deletes its transactions, and a deleted parent leaves children behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Database, Repository
from polaris_common.domain.meta_tag import meta_id_tag
from polaris_common.domain.tag_owner import lineage
from polaris_common.models import OcppTag, Role, TagMapping, TagType, User
from polaris_common.steve import SteveClient, SteveRefused, SteveTag
from sync_worker.tags.repository import OcppTagRepository, TagChangeRepository
from sync_worker.tags.steve_writer import WriteResult, set_parent
from sync_worker.tags.writes import LimitWrites

log = structlog.get_logger(__name__)

NOTE = "Polaris Express: stands for a customer. Do not delete."
META_TAG = "meta_tag"


@dataclass(frozen=True)
class MetaTag:
    """A customer's meta tag in SteVe."""

    tag: SteveTag
    created: bool
    adopted: tuple[str, ...] = ()
    """The tags it has just become the parent of."""


class MetaTagRepository(Repository[TagMapping]):
    """Every query on customers' meta tags."""

    model = TagMapping

    async def customer(self, user_id: UUID) -> User | None:
        """The user, if they are a customer of Lago."""
        query = select(User).where(
            User.id == user_id, User.role == Role.CUSTOMER, User.lago_customer_external_id.is_not(None)
        )
        return (await self.uow.session.execute(query)).scalar_one_or_none()

    async def missing(self, limit: int) -> list[UUID]:
        """Customers of Lago whose meta tag has no mapping or is not known to be in SteVe."""
        name = func.lower(func.concat("META-", User.public_id))
        there = select(TagMapping.id).where(func.lower(TagMapping.id_tag) == name, TagMapping.ocpp_tag_pk.is_not(None))
        query = (
            select(User.id)
            .where(User.role == Role.CUSTOMER, User.lago_customer_external_id.is_not(None), ~there.exists())
            .order_by(User.created_at, User.id)
            .limit(limit)
        )
        return list((await self.uow.execute(query)).scalars())

    async def users_of(self, mapping_ids: Sequence[int]) -> list[UUID]:
        """The users of active mappings that are no meta tags themselves."""
        query = select(TagMapping.user_id).where(
            TagMapping.id.in_(mapping_ids),
            TagMapping.is_active,
            TagMapping.tag_type != TagType.META,
            TagMapping.user_id.is_not(None),
        )
        return [user_id for user_id in (await self.uow.execute(query.distinct())).scalars() if user_id]

    async def map(self, user: User, id_tag: str) -> None:
        """Make sure of the meta tag's mapping. An existing one keeps its state: inactive stays inactive."""
        values = {
            "id_tag": id_tag,
            "user_id": user.id,
            "lago_customer_external_id": user.lago_customer_external_id,
            "tag_type": TagType.META,
        }
        statement = insert(TagMapping).values(values)
        changes = {name: statement.excluded[name] for name in values if name != "id_tag"}
        differs = func.row(*(getattr(TagMapping, name) for name in changes)).is_distinct_from(
            func.row(*changes.values())
        )
        await self.uow.execute(
            statement.on_conflict_do_update(index_elements=[func.lower(TagMapping.id_tag)], set_=changes, where=differs)
        )

    async def learn_pk(self, tag: SteveTag) -> None:
        """Note where SteVe has the tag."""
        await self.uow.execute(
            update(TagMapping)
            .where(func.lower(TagMapping.id_tag) == tag.id_tag.lower())
            .values(ocpp_tag_pk=tag.ocpp_tag_pk)
        )

    async def orphans(self, user: User) -> list[str]:
        """The customer's active tags, other than meta tags, that have no parent in the mirror."""
        theirs = or_(
            TagMapping.user_id == user.id, TagMapping.lago_customer_external_id == user.lago_customer_external_id
        )
        query = (
            select(OcppTag.id_tag)
            .join(TagMapping, func.lower(TagMapping.id_tag) == func.lower(OcppTag.id_tag))
            .where(theirs, TagMapping.is_active, TagMapping.tag_type != TagType.META)
            .where(OcppTag.deleted_at.is_(None), OcppTag.parent_id_tag.is_(None))
            .order_by(OcppTag.id_tag)
        )
        return list((await self.uow.execute(query)).scalars())


class MetaTags:
    """Makes meta tags and gives them their children."""

    def __init__(self, database: Database, steve: SteveClient, writes: LimitWrites) -> None:
        self._database, self._steve, self._writes = database, steve, writes

    async def ensure(self, user_id: UUID) -> MetaTag | None:
        """The customer's meta tag, made if SteVe has none; None for somebody who is no customer of Lago.

        The mapping comes first: a tag that SteVe has and nobody owns cannot come of it.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: what was done stays; calling again completes it.
        """
        async with self._database.unit_of_work() as uow:
            user = await MetaTagRepository(uow).customer(user_id)
            if user is None:
                return None
            id_tag = meta_id_tag(user.public_id)
            await MetaTagRepository(uow).map(user, id_tag)
        tag, created = await self._writes.find_or_create(id_tag, note=NOTE)
        async with self._database.unit_of_work() as uow:
            await OcppTagRepository(uow).store([tag])
            await MetaTagRepository(uow).learn_pk(tag)
            if created:
                await TagChangeRepository(uow).add([(None, tag)], reason=META_TAG, run_id=None)
        return MetaTag(tag, created, await self._adopt(user, tag))

    async def missing(self, limit: int) -> list[UUID]:
        """Customers of Lago without a meta tag, longest known first."""
        async with self._database.unit_of_work() as uow:
            return await MetaTagRepository(uow).missing(limit)

    async def adopt(self, new_mapping_ids: Sequence[int]) -> None:
        """Cards have been linked: make sure of their customers' meta tags.

        Raises:
            SteveUnavailable, SteveProtocolError: see ``ensure``. What SteVe refuses is logged; runs try it again.
        """
        if new_mapping_ids:
            async with self._database.unit_of_work() as uow:
                users = await MetaTagRepository(uow).users_of(new_mapping_ids)
            for user_id in users:
                try:
                    await self.ensure(user_id)
                except SteveRefused as refusal:
                    log.warning("meta_tag_refused", user=str(user_id), reason=str(refusal))

    async def _adopt(self, user: User, meta: SteveTag) -> tuple[str, ...]:
        async with self._database.unit_of_work() as uow:
            orphans = await MetaTagRepository(uow).orphans(user)
            family = await OcppTagRepository(uow).related([meta.id_tag, *orphans])
        above_meta = set(lineage(meta.id_tag, {name: tag.parent_id_tag for name, tag in family.items()}))
        children = [family[orphan.lower()] for orphan in orphans if orphan.lower() not in above_meta]
        return tuple([child.id_tag for child in children if await self._give_parent(child, meta.id_tag)])

    async def _give_parent(self, child: SteveTag, parent_id_tag: str) -> bool:
        write = await set_parent(self._steve, child, parent_id_tag)
        if write.result is not WriteResult.WRITTEN or write.after is None:
            log.info("tag_not_adopted", id_tag=child.id_tag, result=write.result)
            return False
        async with self._database.unit_of_work() as uow:
            await OcppTagRepository(uow).store([write.after])
            await TagChangeRepository(uow).add([(write.before, write.after)], reason=META_TAG, run_id=None)
        return True
