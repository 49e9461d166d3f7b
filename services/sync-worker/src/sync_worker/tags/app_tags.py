"""One tag for each of a driver's phones, below the driver's meta tag (contract-devices §1.14).

Signing in on a phone leaves a mapping; the tag in SteVe follows from it here. Like every tag it is never deleted: a
phone that is signed out has its mapping switched off, and that blocks the tag.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import select, update

from polaris_common.db import Database, Repository
from polaris_common.interruption import interruptible_by, stop_if_asked
from polaris_common.models import TagMapping, TagType
from polaris_common.steve import SteveRefused, SteveTag
from sync_worker.tags.meta_tags import MetaTags
from sync_worker.tags.repository import OcppTagRepository, TagChangeRepository
from sync_worker.tags.writes import LimitWrites

log = structlog.get_logger(__name__)

NOTE = "Polaris Express: a driver's phone. Do not delete."
APP_TAG = "app_tag"


class AppTagRepository(Repository[TagMapping]):
    """Every query on phones' tags."""

    model = TagMapping

    async def missing(self, limit: int, among: Sequence[int] | None = None) -> list[TagMapping]:
        """Phones that are signed in and whose tag is not known to be in SteVe, longest known first."""
        query = (
            select(TagMapping)
            .where(
                TagMapping.tag_type == TagType.APP,
                TagMapping.is_active,
                TagMapping.ocpp_tag_pk.is_(None),
                TagMapping.user_id.is_not(None),
            )
            .order_by(TagMapping.id)
            .limit(limit)
        )
        return await self.all(query if among is None else query.where(TagMapping.id.in_(among)))

    async def learn_pk(self, mapping: TagMapping, tag: SteveTag) -> None:
        """Note where SteVe has the tag."""
        await self.uow.execute(
            update(TagMapping).where(TagMapping.id == mapping.id).values(ocpp_tag_pk=tag.ocpp_tag_pk)
        )


class AppTags:
    """Makes phones' tags."""

    def __init__(self, database: Database, writes: LimitWrites, meta: MetaTags) -> None:
        self._database, self._writes, self._meta = database, writes, meta

    async def make_missing(self, limit: int, among: Sequence[int] | None = None) -> None:
        """Make the tags that are missing, of all mappings or of those ``among``.

        Raises:
            SteveUnavailable, SteveProtocolError: what was done stays; calling again completes it. What SteVe refuses is
                logged; runs try it again.
        """
        async with self._database.unit_of_work() as uow:
            missing = await AppTagRepository(uow).missing(limit, among)
        for mapping in missing:
            stop_if_asked()
            try:
                with interruptible_by(None):
                    await self._make(mapping)
            except SteveRefused as refusal:
                log.warning("app_tag_refused", id_tag=mapping.id_tag, reason=str(refusal))

    async def _make(self, mapping: TagMapping) -> None:
        parent = await self._parent(mapping.user_id)
        tag, created = await self._writes.find_or_create(mapping.id_tag, note=NOTE, parent=parent)
        async with self._database.unit_of_work() as uow:
            await OcppTagRepository(uow).store([tag])
            await AppTagRepository(uow).learn_pk(mapping, tag)
            if created:
                await TagChangeRepository(uow).add([(None, tag)], reason=APP_TAG, run_id=None)

    async def _parent(self, user_id: UUID | None) -> str | None:
        meta = None if user_id is None else await self._meta.ensure(user_id)
        return None if meta is None else meta.tag.id_tag
