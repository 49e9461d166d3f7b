"""Tag mappings and the mirror of SteVe's tag hierarchy: who owns which tag."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Text, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from polaris_common.db import Repository
from polaris_common.domain.tag_owner import MAX_DEPTH, MappingValue, owner_of
from polaris_common.models import OcppTag, TagMapping

_VALUE = (
    TagMapping.id,
    TagMapping.is_active,
    TagMapping.user_id,
    TagMapping.lago_customer_external_id,
    TagMapping.lago_subscription_external_id,
    TagMapping.billing_tier,
)
"""The columns of a ``MappingValue``."""


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
        query = select(*_VALUE).where(TagMapping.id == any_(literal(list(ids), ARRAY(BigInteger))))
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return {row.id: MappingValue(*row) for row in rows}

    async def _parents(self, tags: set[str]) -> dict[str, str | None]:
        parents: dict[str, str | None] = {}
        missing = tags
        for _ in range(MAX_DEPTH):
            if not missing:
                break
            query = select(func.lower(OcppTag.id_tag).label("tag"), OcppTag.parent_id_tag).where(
                func.lower(OcppTag.id_tag) == any_(literal(list(missing), ARRAY(Text))), OcppTag.deleted_at.is_(None)
            )
            found = {row.tag: row.parent_id_tag for row in (await self.uow.execute(query)).all()}
            parents |= found
            missing = {parent.lower() for parent in found.values() if parent} - parents.keys()
        return parents

    async def _mappings(self, tags: set[str]) -> dict[str, MappingValue]:
        query = select(*_VALUE, func.lower(TagMapping.id_tag)).where(
            func.lower(TagMapping.id_tag) == any_(literal(list(tags), ARRAY(Text)))
        )
        rows: Sequence[Any] = (await self.uow.execute(query)).all()
        return {row[-1]: MappingValue(*row[:-1]) for row in rows}
