"""Which charge boxes exist."""

from sqlalchemy import func, select

from polaris_common.db import UnitOfWork
from polaris_common.http.errors import NotFound
from polaris_common.models import Charger


class ChargerNotFound(NotFound):
    """There is no such charge box, or SteVe no longer has it."""

    code, message = "charger_not_found", "There is no such charger."


async def existing_charge_box(uow: UnitOfWork, charge_box_id: str) -> str:
    """The id as SteVe writes it, whatever the case of ``charge_box_id``.

    Raises:
        ChargerNotFound: nothing is ever asked of a charge box that does not exist.
    """
    found = await uow.session.scalar(
        select(Charger.charge_box_id)
        .where(func.lower(Charger.charge_box_id) == charge_box_id.lower(), Charger.gone_at.is_(None))
        .order_by(Charger.charge_box_id != charge_box_id)
        .limit(1)
    )
    if found is None:
        raise ChargerNotFound
    return found
