"""Queries on printed cards and on how often they were tried."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository, UnitOfWork
from polaris_common.identity.audit import AuditEvent
from polaris_common.ids import new_public_id
from polaris_common.models import AppDevice, AuthAudit, DeviceToken, QrCard, Role, User

_LOCK_FAILURES = text("SELECT pg_advisory_xact_lock(hashtext('polaris:qr-sign-in-failures'))")


@dataclass(frozen=True)
class PresentedCard:
    """A card somebody has shown, and whose it is."""

    user: User
    disabled: bool
    expired: bool


class QrCardRepository(Repository[QrCard]):
    """Every query on printed cards."""

    model = QrCard

    async def present(self, printed_id: str, *, lifetime: timedelta) -> PresentedCard | None:
        """The card with this number, whatever its state; None when no driver has it."""
        query = (
            select(
                User,
                QrCard.disabled_at.is_not(None).label("disabled"),
                (QrCard.issued_at <= func.now() - lifetime).label("expired"),
            )
            .join(User, User.id == QrCard.user_id)
            .where(QrCard.printed_id == printed_id, User.role == Role.CUSTOMER)
        )
        row = (await self.uow.execute(query)).one_or_none()
        return None if row is None else PresentedCard(row.User, row.disabled, row.expired)

    async def used(self, user_id: UUID) -> None:
        """Note that the card was used."""
        await self.uow.execute(update(QrCard).where(QrCard.user_id == user_id).values(last_used_at=func.now()))

    async def of_driver(self, user_id: UUID) -> Row[Any] | None:
        """``(QrCard, now)`` of a driver; None for somebody who is no driver."""
        query = (
            select(QrCard, func.now().label("now"))
            .join(User, User.id == QrCard.user_id)
            .where(QrCard.user_id == user_id, User.role == Role.CUSTOMER)
            .execution_options(populate_existing=True)
        )
        return (await self.uow.execute(query)).one_or_none()

    async def issue(self, user_id: UUID) -> None:
        """A new number for the driver's card; the old one is worth nothing any more."""
        values = {"printed_id": new_public_id(), "issued_at": func.now(), "disabled_at": None, "last_used_at": None}
        statement = insert(QrCard).values(user_id=user_id, **values)
        await self.uow.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))

    async def switch(self, user_id: UUID, *, enabled: bool) -> None:
        """Switch the card on or off; what already is so stays."""
        changed = update(QrCard).where(QrCard.user_id == user_id)
        if enabled:
            await self.uow.execute(changed.values(disabled_at=None))
        else:
            await self.uow.execute(changed.where(QrCard.disabled_at.is_(None)).values(disabled_at=func.now()))


async def failures_within(uow: UnitOfWork, span: timedelta) -> int:
    """How many printed ids were tried in vain in the last ``span``, by anybody."""
    query = (
        select(func.count())
        .select_from(AuthAudit)
        .where(AuthAudit.event == AuditEvent.QR_LOGIN_FAILED, AuthAudit.created_at > func.now() - span)
    )
    return int((await uow.execute(query)).scalar_one())


async def count_failures_in_turn(uow: UnitOfWork) -> None:
    """Let everybody who notes a failure wait for each other until the transaction ends."""
    await uow.execute(_LOCK_FAILURES)


async def has_used_device(uow: UnitOfWork, user_id: UUID, *, label: str, model: str) -> bool:
    """Whether the person has signed in on such a device before, and still is."""
    query = (
        select(AppDevice.id)
        .join(DeviceToken, DeviceToken.device_id == AppDevice.id)
        .where(AppDevice.owner_user_id == user_id, AppDevice.deleted_at.is_(None))
        .where(AppDevice.label == label, AppDevice.model == model, DeviceToken.last_used_at.is_not(None))
        .limit(1)
    )
    return (await uow.execute(query)).scalar_one_or_none() is not None


def expiry_of(issued_at: datetime, lifetime: timedelta) -> datetime:
    """When a card ends that was issued then."""
    return issued_at + lifetime
