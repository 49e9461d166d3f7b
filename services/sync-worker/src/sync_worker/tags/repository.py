"""The mirror of SteVe's tags."""

from collections.abc import Sequence

from sqlalchemy import Integer, func, literal, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from polaris_common.db import Repository
from polaris_common.models import OcppTag
from polaris_common.steve import SteveTag

CHUNK = 1_000


class OcppTagRepository(Repository[OcppTag]):
    """Every write to the tag mirror."""

    model = OcppTag

    async def replace(self, tags: Sequence[SteveTag]) -> None:
        """Make the mirror show exactly ``tags``, a complete list from SteVe; the others are marked deleted."""
        kept = literal([tag.ocpp_tag_pk for tag in tags], ARRAY(Integer))
        gone = OcppTag.ocpp_tag_pk != func.all(kept)
        await self.uow.execute(update(OcppTag).where(OcppTag.deleted_at.is_(None), gone).values(deleted_at=func.now()))
        for begin in range(0, len(tags), CHUNK):
            statement = insert(OcppTag).values([_values(tag) for tag in tags[begin : begin + CHUNK]])
            changes = {name: statement.excluded[name] for name in _values(tags[begin]) if name != "ocpp_tag_pk"}
            await self.uow.execute(
                statement.on_conflict_do_update(
                    index_elements=["ocpp_tag_pk"],
                    set_=changes,
                    where=func.row(*(getattr(OcppTag, name) for name in changes)).is_distinct_from(
                        func.row(*changes.values())
                    ),
                )
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
