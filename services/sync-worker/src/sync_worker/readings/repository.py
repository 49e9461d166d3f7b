"""Which sessions nobody has told us about lately."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from polaris_common.db import UnitOfWork

_SILENT = text("""
SELECT s.steve_transaction_id, s.charge_box_id, s.connector_id
FROM charging_sessions AS s LEFT JOIN live_meters AS m ON m.steve_transaction_id = s.steve_transaction_id
WHERE s.state = 'open' AND s.vanished_at IS NULL
  AND (m.received_at IS NULL OR m.received_at < now() - CAST(:silence AS interval))
ORDER BY s.steve_transaction_id
""")


@dataclass(frozen=True)
class SilentSession:
    """An open session without a recent sample."""

    transaction_id: int
    charge_box_id: str
    connector_id: int


async def silent_sessions(uow: UnitOfWork, *, silence: timedelta) -> list[SilentSession]:
    """The open sessions of which no sample arrived for so long: hooks are off, or lost, or the car only waits."""
    rows = await uow.execute(_SILENT, {"silence": silence})
    return [SilentSession(row.steve_transaction_id, row.charge_box_id, row.connector_id) for row in rows]
