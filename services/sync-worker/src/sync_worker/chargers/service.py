"""Refreshing the charger registry."""

from polaris_common.charging.sync_runs import SegmentRecord
from polaris_common.db import Database
from polaris_common.steve import SteveClient
from polaris_common.steve.probe import Capabilities
from sync_worker.chargers.repository import ChargerRepository


async def refresh_chargers(
    database: Database, steve: SteveClient, capabilities: Capabilities, record: SegmentRecord
) -> None:
    """Take over SteVe's charge boxes; a removed one is marked gone and stays visible.

    Where SteVe cannot list them, the registry is what sessions have shown, and nothing is ever concluded to be gone.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the registry stays as it is.
    """
    boxes = await steve.charge_boxes() if capabilities.charge_boxes else None
    if boxes is None:
        await record.log("info", "SteVe cannot list charge boxes; those with sessions are known")
        async with database.unit_of_work() as uow:
            await ChargerRepository(uow).notice_statuses()
        return
    async with database.unit_of_work() as uow:
        chargers = ChargerRepository(uow)
        known = await chargers.known()
        if boxes or not known:
            record.counts.seen += len(boxes)
            record.counts.new += await chargers.seen(boxes)
            gone = await chargers.only({box.charge_box_id for box in boxes})
            record.counts.changed += len(gone)
        await chargers.notice_statuses()
    if not boxes and known:
        await record.log("warn", "SteVe listed no charge box at all; the registry stays as it is", known=known)
    elif gone:
        await record.log("info", "Charge boxes were removed from SteVe", charge_boxes=gone[:100], number=len(gone))
