"""The charger registry, as far as SteVe feeds it."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository
from polaris_common.ids import new_public_id
from polaris_common.models import Charger
from polaris_common.steve import SteveChargeBox

CHUNK = 1_000


class ChargerRepository(Repository[Charger]):
    """Every write that a sync makes to the registry."""

    model = Charger

    async def seen(self, boxes: Sequence[SteveChargeBox]) -> None:
        """Insert new chargers and refresh known ones; a name that SteVe does not give is kept."""
        for begin in range(0, len(boxes), CHUNK):
            chunk = boxes[begin : begin + CHUNK]
            statement = insert(Charger).values(
                [
                    {
                        "charge_box_id": box.charge_box_id,
                        "charge_box_pk": box.charge_box_pk,
                        "public_id": new_public_id(),
                        "friendly_name": box.description,
                    }
                    for box in chunk
                ]
            )
            new = statement.excluded
            await self.uow.execute(
                statement.on_conflict_do_update(
                    index_elements=["charge_box_id"],
                    set_={
                        "charge_box_pk": func.coalesce(new.charge_box_pk, Charger.charge_box_pk),
                        "friendly_name": func.coalesce(new.friendly_name, Charger.friendly_name),
                        "last_seen_at": func.now(),
                    },
                )
            )
