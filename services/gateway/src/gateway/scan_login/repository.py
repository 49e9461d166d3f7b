"""What scanning looks up besides pairings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, String, cast, func, select

from polaris_common.db import UnitOfWork
from polaris_common.domain.device_capabilities import Capability
from polaris_common.domain.online import charger_is_online
from polaris_common.identity.pairings import Target
from polaris_common.models import (
    AppDevice,
    Charger,
    ChargerConnector,
    LagoCustomer,
    LagoPlan,
    LagoSubscription,
    Pairing,
    Role,
    TagMapping,
    TagType,
    User,
)

HOUR = timedelta(hours=1)
_CARDS = (TagType.EV_CARD, TagType.KEYTAG)


@dataclass(frozen=True)
class ListedCharger:
    """A charger with what tells whether it is online."""

    charger: Charger
    online: bool
    heard_at: datetime | None


@dataclass(frozen=True)
class CardHolder:
    """Whose card was read."""

    user: User
    mapping_id: int


async def chargers(uow: UnitOfWork) -> list[ListedCharger]:
    """Every charger that SteVe has, the one heard of last first."""
    heard = func.greatest(Charger.last_seen_at, func.max(ChargerConnector.status_at))
    query = (
        select(
            Charger,
            heard.label("heard_at"),
            func.array_agg(ChargerConnector.status).label("statuses"),
            func.now().label("now"),
        )
        .outerjoin(ChargerConnector, ChargerConnector.charge_box_id == Charger.charge_box_id)
        .where(Charger.gone_at.is_(None))
        .group_by(Charger.charge_box_id)
        .order_by(heard.desc().nulls_last(), Charger.charge_box_id)
    )
    return [
        ListedCharger(row.Charger, charger_is_online(row.heard_at, row.statuses, row.now), row.heard_at)
        for row in await uow.execute(query)
    ]


async def scanners(uow: UnitOfWork) -> Sequence[Row[Any]]:
    """``(AppDevice, now)`` of every device that reads cards, the one heard of last first."""
    query = (
        select(AppDevice, func.now().label("now"))
        .where(
            AppDevice.deleted_at.is_(None),
            AppDevice.revoked_at.is_(None),
            AppDevice.capabilities.contains([Capability.SCANNER.value]),
        )
        .order_by(AppDevice.last_seen_at.desc().nulls_last(), AppDevice.id)
    )
    return (await uow.execute(query)).all()


async def arms_of_target(uow: UnitOfWork, target: Target) -> int:
    """How often visitors have armed it within the hour."""
    return await _arms(uow, Pairing.pairable_type == target.type.value, Pairing.target == target.id)


async def arms_from(uow: UnitOfWork, ip_address: str | None) -> int:
    """How often visitors from one address have armed something within the hour."""
    return await _arms(uow, Pairing.ip_address == ip_address)


async def database_now(uow: UnitOfWork) -> datetime:
    """The database's clock."""
    now: datetime = (await uow.execute(select(func.now()))).scalar_one()
    return now


async def holder_of(uow: UnitOfWork, id_tag: str) -> CardHolder | None:
    """The driver who may sign in with this card; SteVe compares idTags without case, and so do we.

    Only cards and key tags that are active themselves: names that we made up ourselves sign nobody in.
    """
    query = (
        select(User, TagMapping.id)
        .join(TagMapping, TagMapping.user_id == User.id)
        .where(
            func.lower(TagMapping.id_tag) == id_tag.lower(),
            TagMapping.is_active,
            TagMapping.tag_type.in_(_CARDS),
            User.role == Role.CUSTOMER,
        )
    )
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else CardHolder(row.User, row.id)


async def mapping_of(uow: UnitOfWork, id_tag: str) -> TagMapping | None:
    """The active mapping of a card, in whatever case."""
    query = select(TagMapping).where(func.lower(TagMapping.id_tag) == id_tag.lower(), TagMapping.is_active)
    return (await uow.session.execute(query)).scalar_one_or_none()


async def customer_of(uow: UnitOfWork, external_id: str) -> LagoCustomer | None:
    """The mirrored customer."""
    query = select(LagoCustomer).where(LagoCustomer.external_id == external_id, LagoCustomer.deleted_at.is_(None))
    return (await uow.session.execute(query.limit(1))).scalar_one_or_none()


async def subscription_of(uow: UnitOfWork, mapping: TagMapping) -> Row[Any] | None:
    """``(LagoSubscription, plan_name)`` that pays for a card: the one it names, else the customer's newest active."""
    named = mapping.lago_subscription_external_id
    mine = (
        LagoSubscription.external_id == named
        if named is not None
        else LagoSubscription.external_customer_id == mapping.lago_customer_external_id
    )
    active_first = cast(LagoSubscription.status, String) == "active"
    query = (
        select(LagoSubscription, LagoPlan.name.label("plan_name"))
        .outerjoin(LagoPlan, (LagoPlan.code == LagoSubscription.plan_code) & LagoPlan.deleted_at.is_(None))
        .where(mine, LagoSubscription.deleted_at.is_(None))
        .order_by(active_first.desc(), LagoSubscription.started_at.desc().nulls_last(), LagoSubscription.lago_id)
        .limit(1)
    )
    return (await uow.execute(query)).one_or_none()


async def _arms(uow: UnitOfWork, *where: Any) -> int:
    query = (
        select(func.count())
        .select_from(Pairing)
        .where(*where, Pairing.armed_by_user_id.is_(None), Pairing.created_at > func.now() - HOUR)
    )
    return int((await uow.execute(query)).scalar_one())
