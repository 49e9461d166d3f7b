"""Queries around devices that only the gateway needs."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import UnitOfWork
from polaris_common.domain.meta_tag import device_id_tag
from polaris_common.models import (
    AppDevice,
    DeactivationReason,
    DeviceToken,
    LagoPlan,
    LagoSubscription,
    TagMapping,
    TagType,
    User,
)


@dataclass(frozen=True)
class Plan:
    """What a driver pays by."""

    code: str
    name: str | None


async def user_of(uow: UnitOfWork, user_id: UUID) -> User | None:
    """A person."""
    return (await uow.session.execute(select(User).where(User.id == user_id))).scalar_one_or_none()


async def device_with_owner(uow: UnitOfWork, device_id: UUID, token_id: UUID) -> Row[Any] | None:
    """``(AppDevice, User, expires_at)`` of a device and the token that it uses."""
    query = (
        select(AppDevice, User, DeviceToken.expires_at)
        .join(User, User.id == AppDevice.owner_user_id)
        .join(DeviceToken, DeviceToken.device_id == AppDevice.id)
        .where(AppDevice.id == device_id, DeviceToken.id == token_id)
    )
    return (await uow.execute(query)).one_or_none()


async def plan_of(uow: UnitOfWork, external_customer_id: str) -> Plan | None:
    """The plan of the customer's newest active subscription, from the mirror."""
    query = (
        select(LagoSubscription.plan_code, LagoPlan.name)
        .outerjoin(LagoPlan, (LagoPlan.code == LagoSubscription.plan_code) & LagoPlan.deleted_at.is_(None))
        .where(
            LagoSubscription.external_customer_id == external_customer_id,
            LagoSubscription.status == "active",
            LagoSubscription.deleted_at.is_(None),
        )
        .order_by(LagoSubscription.started_at.desc().nulls_last(), LagoSubscription.lago_id)
        .limit(1)
    )
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else Plan(row.plan_code, row.name)


async def want_app_tag(uow: UnitOfWork, owner: User, device: AppDevice) -> None:
    """Note that a driver's device is to have a tag of its own, paid by the driver's customer.

    The sync-worker carries mappings to SteVe and hangs them below the customer's meta tag.
    """
    if owner.lago_customer_external_id is None:
        return
    values = {
        "id_tag": device_id_tag(owner.public_id, device.id),
        "user_id": owner.id,
        "lago_customer_external_id": owner.lago_customer_external_id,
        "tag_type": TagType.APP,
        "display_name": device.label,
    }
    await uow.execute(insert(TagMapping).values(values).on_conflict_do_nothing())


async def give_up_app_tag(uow: UnitOfWork, device_id: UUID) -> None:
    """Block the tag of a removed device."""
    owner = select(User.public_id).join(AppDevice, AppDevice.owner_user_id == User.id).where(AppDevice.id == device_id)
    public_id = (await uow.execute(owner)).scalar_one_or_none()
    if public_id is None:
        return
    await uow.execute(
        update(TagMapping)
        .where(func.lower(TagMapping.id_tag) == device_id_tag(public_id, device_id).lower(), TagMapping.is_active)
        .values(is_active=False, deactivation_reason=DeactivationReason.OPERATOR, deactivated_at=func.now())
    )
