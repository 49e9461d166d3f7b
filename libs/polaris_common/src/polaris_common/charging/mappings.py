"""Tag mappings and the mirror of SteVe's tag hierarchy: who owns which tag."""

from collections.abc import Iterable

from sqlalchemy import func, select

from polaris_common.db import Repository
from polaris_common.domain.tag_owner import MAX_DEPTH, MappingValue, owner_of
from polaris_common.models import OcppTag, TagMapping


class TagMappingRepository(Repository[TagMapping]):
    """Every query on mappings and the hierarchy they hang on."""

    model = TagMapping

    async def owners(self, id_tags: Iterable[str]) -> dict[str, MappingValue | None]:
        """For each idTag (in lower case) the mapping that answers for it, or None."""
        wanted = {tag.lower() for tag in id_tags}
        parents = await self._parents(wanted)
        relevant = wanted | {parent.lower() for parent in parents.values() if parent}
        mappings = await self._mappings(relevant)
        return {tag: owner_of(tag, mappings, parents) for tag in wanted}

    async def by_ids(self, ids: Iterable[int]) -> dict[int, MappingValue]:
        """These mappings, active or not."""
        return {row.id: _value(row) for row in await self.all(select(TagMapping).where(TagMapping.id.in_(list(ids))))}

    async def _parents(self, tags: set[str]) -> dict[str, str | None]:
        parents: dict[str, str | None] = {}
        missing = tags
        for _ in range(MAX_DEPTH):
            if not missing:
                break
            query = select(func.lower(OcppTag.id_tag).label("tag"), OcppTag.parent_id_tag).where(
                func.lower(OcppTag.id_tag).in_(missing), OcppTag.deleted_at.is_(None)
            )
            found = {row.tag: row.parent_id_tag for row in (await self.uow.execute(query)).all()}
            parents |= found
            missing = {parent.lower() for parent in found.values() if parent} - parents.keys()
        return parents

    async def _mappings(self, tags: set[str]) -> dict[str, MappingValue]:
        query = select(TagMapping).where(func.lower(TagMapping.id_tag).in_(tags))
        return {row.id_tag.lower(): _value(row) for row in await self.all(query)}


def _value(row: TagMapping) -> MappingValue:
    return MappingValue(
        id=row.id,
        is_active=row.is_active,
        user_id=row.user_id,
        lago_customer_external_id=row.lago_customer_external_id,
        lago_subscription_external_id=row.lago_subscription_external_id,
        billing_tier=row.billing_tier,
    )
