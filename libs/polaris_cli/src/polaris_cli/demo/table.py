"""The live table of sessions in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from sqlalchemy import text

from polaris_common.db import Database
from polaris_common.energy import kwh_text

_SESSIONS = text("""
SELECT s.charge_box_id, s.connector_id, s.id_tag, s.state, u.name, m.power_w,
       coalesce(s.stop_wh, m.register_wh, s.start_wh) - s.start_wh AS wh, coalesce(b.billed_wh, 0) AS billed_wh
FROM charging_sessions AS s
LEFT JOIN users AS u ON u.id = s.user_id
LEFT JOIN live_meters AS m USING (steve_transaction_id)
LEFT JOIN session_billing AS b ON b.session_id = s.id
ORDER BY (s.state = 'open') DESC, CASE WHEN s.state = 'open' THEN s.id ELSE -s.id END
LIMIT :limit
""")

MAX_ROWS = 20
_STYLES = {"open": "green", "settled": "dim", "stopped": "yellow", "quarantined": "red"}


async def look(database: Database, *, limit: int = MAX_ROWS) -> Sequence[Any]:
    """Open sessions, then the newest that ended."""
    async with database.unit_of_work() as uow:
        return (await uow.execute(_SESSIONS, {"limit": limit})).all()


def table_of(rows: Sequence[Any]) -> Table:
    """``rows`` for the terminal."""
    first = "" if rows else "The first car plugs in soon. "
    table = Table(caption=f"{first}Ctrl-C stops everything.")
    table.add_column("Charger")
    table.add_column("Driver")
    for title in ("kW", "kWh", "Billed kWh"):
        table.add_column(title, justify="right")
    table.add_column("State")
    for row in rows:
        is_open = row.state == "open"
        table.add_row(
            f"{row.charge_box_id} / {row.connector_id}",
            row.name or row.id_tag,
            f"{row.power_w / 1000:.1f}" if is_open and row.power_w is not None else "",
            kwh_text(row.wh) if row.wh is not None else "",
            kwh_text(row.billed_wh),
            "charging" if is_open else row.state,
            style=_STYLES.get(row.state),
        )
    return table
