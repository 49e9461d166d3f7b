"""What the landing pages look up."""

from sqlalchemy import select

from polaris_common.db import UnitOfWork
from polaris_common.models import Charger


async def charger_exists(uow: UnitOfWork, public_id: str) -> bool:
    """Whether a charger has this number on its sticker."""
    query = select(Charger.charge_box_id).where(Charger.public_id == public_id, Charger.gone_at.is_(None))
    return (await uow.execute(query)).scalar_one_or_none() is not None
