"""Writing feature flags, and the devices that must hear of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import UnitOfWork
from polaris_common.models import (
    AppDevice,
    DeviceFeatureFlagOverride,
    GlobalFeatureFlagValue,
    User,
    UserFeatureFlagValue,
)

Table = type[GlobalFeatureFlagValue] | type[UserFeatureFlagValue] | type[DeviceFeatureFlagOverride]


@dataclass(frozen=True)
class Tier:
    """Where values are kept, and whose they are: columns that stand beside the flag's key."""

    table: Table
    owner: Mapping[str, UUID]


EVERYBODY = Tier(GlobalFeatureFlagValue, {})


def user_tier(user_id: UUID) -> Tier:
    """The values of one person."""
    return Tier(UserFeatureFlagValue, {"user_id": user_id})


def device_tier(device_id: UUID) -> Tier:
    """The overrides of one device."""
    return Tier(DeviceFeatureFlagOverride, {"device_id": device_id})


async def write(uow: UnitOfWork, tier: Tier, values: Mapping[str, Any], *, updated_by: str) -> None:
    """Set each flag, or take its value away where it is None."""
    table = tier.table
    for key, value in sorted(values.items()):
        if value is None:
            mine = [getattr(table, column) == owner for column, owner in tier.owner.items()]
            await uow.execute(delete(table).where(table.flag_key == key, *mine))
            continue
        row = {**tier.owner, "flag_key": key, "value_json": value, "updated_by": updated_by}
        changes = {"value_json": value, "updated_by": updated_by, "updated_at": func.now()}
        identity = [*tier.owner, "flag_key"]
        await uow.execute(insert(table).values(row).on_conflict_do_update(index_elements=identity, set_=changes))


async def user_exists(uow: UnitOfWork, user_id: UUID) -> bool:
    """Whether there is such a person."""
    return (await uow.session.scalar(select(User.id).where(User.id == user_id))) is not None


async def devices_of(uow: UnitOfWork, user_id: UUID) -> list[UUID]:
    """The devices that a person uses."""
    query = select(AppDevice.id).where(AppDevice.owner_user_id == user_id, AppDevice.deleted_at.is_(None))
    return list(await uow.session.scalars(query.order_by(AppDevice.registered_at)))


async def device(uow: UnitOfWork, device_id: UUID) -> AppDevice | None:
    """One device, deleted or not."""
    return await uow.session.get(AppDevice, device_id)
