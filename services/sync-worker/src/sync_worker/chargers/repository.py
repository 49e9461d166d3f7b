"""The charger registry, as far as SteVe feeds it."""

from collections.abc import Collection, Sequence

from sqlalchemy import select, text

from polaris_common.clock import to_wire
from polaris_common.db import Repository
from polaris_common.events.live import ChargerStateChanged
from polaris_common.ids import new_public_id
from polaris_common.models import Charger
from polaris_common.steve import SteveChargeBox

_REFRESH = text("""
UPDATE chargers AS c
SET charge_box_pk = coalesce(v.pk, c.charge_box_pk), friendly_name = coalesce(v.name, c.friendly_name),
    last_seen_at = now(), gone_at = NULL
FROM unnest(CAST(:boxes AS text[]), CAST(:pks AS int[]), CAST(:names AS text[])) AS v(box, pk, name)
WHERE c.charge_box_id = v.box
""")

_INSERT = text("""
INSERT INTO chargers (charge_box_id, charge_box_pk, friendly_name, public_id)
SELECT * FROM unnest(
    CAST(:boxes AS text[]), CAST(:pks AS int[]), CAST(:names AS text[]), CAST(:public_ids AS text[]))
ON CONFLICT (charge_box_id) DO NOTHING
""")

_GONE = text("""
UPDATE chargers SET gone_at = now() WHERE gone_at IS NULL AND charge_box_id <> ALL(CAST(:boxes AS text[]))
RETURNING charge_box_id
""")

_CONNECTORS = text("""
INSERT INTO charger_connectors (charge_box_id, connector_id)
SELECT * FROM unnest(CAST(:boxes AS text[]), CAST(:connectors AS int[])) ORDER BY 1, 2
ON CONFLICT DO NOTHING
""")

# What can be known without a status from SteVe: a session is open there, there is none, or the box is gone.
_STATUS = text("""
UPDATE charger_connectors AS c SET status = v.status, status_at = now()
FROM (
    SELECT k.charge_box_id, k.connector_id,
        CASE WHEN b.gone_at IS NOT NULL THEN 'Unavailable'
             WHEN s.connector_id IS NOT NULL THEN 'Charging' ELSE 'Available' END AS status
    FROM charger_connectors k
    JOIN chargers b USING (charge_box_id)
    LEFT JOIN (SELECT DISTINCT charge_box_id, connector_id FROM charging_sessions WHERE state = 'open') s
        ON s.charge_box_id = k.charge_box_id AND s.connector_id = k.connector_id
    WHERE CAST(:boxes AS text[]) IS NULL OR k.charge_box_id = ANY(CAST(:boxes AS text[]))
) AS v
WHERE c.charge_box_id = v.charge_box_id AND c.connector_id = v.connector_id AND c.status IS DISTINCT FROM v.status
RETURNING c.charge_box_id, c.connector_id, c.status, c.status_at
""")


class ChargerRepository(Repository[Charger]):
    """Every write that a sync makes to the registry."""

    model = Charger

    async def seen(self, boxes: Sequence[SteveChargeBox]) -> int:
        """Insert new chargers and refresh known ones; a name that SteVe does not give is kept. The number of new ones.

        A charger that was gone is back.
        """
        new = await self._unknown({box.charge_box_id for box in boxes})
        await self._insert([box for box in boxes if box.charge_box_id in new])
        await self.uow.execute(_REFRESH, _arrays(boxes))
        return len(new)

    async def only(self, boxes: Collection[str]) -> list[str]:
        """SteVe's complete list is ``boxes``: the others are marked gone and stay visible. Those just marked."""
        return list((await self.uow.execute(_GONE, {"boxes": list(boxes)})).scalars())

    async def known(self) -> int:
        """How many chargers we have that are not gone."""
        return len((await self.uow.execute(select(Charger.charge_box_id).where(Charger.gone_at.is_(None)))).all())

    async def observed(self, connectors: Collection[tuple[str, int]]) -> None:
        """Sessions happened on these connectors, so they exist."""
        if not connectors:
            return
        new = await self._unknown({charge_box_id for charge_box_id, _ in connectors})
        await self._insert([SteveChargeBox(charge_box_id, None, None) for charge_box_id in sorted(new)])
        # Connector 0 is the whole box, not a socket.
        sockets = sorted((charge_box_id, number) for charge_box_id, number in connectors if number > 0)
        arrays = {"boxes": [box for box, _ in sockets], "connectors": [number for _, number in sockets]}
        await self.uow.execute(_CONNECTORS, arrays)
        await self.notice_statuses({charge_box_id for charge_box_id, _ in sockets})

    async def notice_statuses(self, boxes: Collection[str] | None = None) -> int:
        """Compare what connectors do with what was known, on these boxes or all, and tell what is new; how many."""
        rows = (await self.uow.execute(_STATUS, {"boxes": None if boxes is None else list(boxes)})).all()
        for row in sorted(rows):
            event = ChargerStateChanged(
                charge_box_id=row.charge_box_id,
                connector_id=row.connector_id,
                status=row.status,
                updated_at=to_wire(row.status_at),
            )
            self.uow.emit(event)
        return len(rows)

    async def _unknown(self, boxes: Collection[str]) -> set[str]:
        query = text("SELECT charge_box_id FROM chargers WHERE charge_box_id = ANY(CAST(:boxes AS text[]))")
        return set(boxes) - set((await self.uow.execute(query, {"boxes": list(boxes)})).scalars())

    async def _insert(self, boxes: Sequence[SteveChargeBox]) -> None:
        if boxes:
            await self.uow.execute(_INSERT, _arrays(boxes) | {"public_ids": [new_public_id() for _ in boxes]})


def _arrays(boxes: Sequence[SteveChargeBox]) -> dict[str, list[object]]:
    return {
        "boxes": [box.charge_box_id for box in boxes],
        "pks": [box.charge_box_pk for box in boxes],
        "names": [box.description for box in boxes],
    }
