"""Refreshing the charger registry."""

from sqlalchemy import select

from polaris_common.db import Database
from polaris_common.models import ChargingSession
from polaris_common.steve import SteveChargeBox, SteveClient
from sync_worker.chargers.repository import ChargerRepository


async def refresh_chargers(database: Database, steve: SteveClient) -> int:
    """Take over SteVe's charge boxes; where SteVe cannot list them, those that have had a session.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the registry stays as it is.
    """
    boxes = await steve.charge_boxes()
    async with database.unit_of_work() as uow:
        if boxes is None:
            ids = (await uow.execute(select(ChargingSession.charge_box_id).distinct())).scalars()
            boxes = [SteveChargeBox(charge_box_id, None, None) for charge_box_id in ids]
        await ChargerRepository(uow).seen(boxes)
    return len(boxes)
