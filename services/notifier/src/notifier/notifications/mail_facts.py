"""What mails say beyond the event: read when the mail is queued, and what many of a batch need at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import ARRAY, BigInteger, Text, any_, func, literal, select

from polaris_common.db import UnitOfWork
from polaris_common.lago import wire
from polaris_common.models import Charger, ChargingSession, LagoCustomer, LagoInvoice, Reservation, TagMapping, User

_ZONES = frozenset(available_timezones())


@dataclass(frozen=True)
class Reading:
    """How somebody reads, where Lago knows it; None: as the installation says."""

    locale: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True)
class SessionFacts:
    """A charging session with what people call its charger and its card."""

    session: ChargingSession
    charger: str | None
    card: str | None


class MailFacts:
    """Reads for the mails of one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._sessions: dict[int, SessionFacts] = {}
        self._readings: dict[str, Reading] = {}

    async def look_up(self, *, sessions: Iterable[int], readers: Iterable[User]) -> None:
        """Read what the mails about these sessions, to these people, will ask for."""
        if wanted := sorted(set(sessions)):
            query = (
                select(ChargingSession, Charger.friendly_name, TagMapping.display_name)
                .outerjoin(Charger, func.lower(Charger.charge_box_id) == func.lower(ChargingSession.charge_box_id))
                .outerjoin(TagMapping, TagMapping.id == ChargingSession.tag_mapping_id)
                .where(ChargingSession.id == any_(literal(wanted, ARRAY(BigInteger))))
            )
            for row in await self._uow.execute(query):
                session = row.ChargingSession
                self._sessions[session.id] = SessionFacts(session, row.friendly_name, row.display_name)
        if customers := sorted({each.lago_customer_external_id for each in readers if each.lago_customer_external_id}):
            newest_last = (
                select(LagoCustomer.external_id, LagoCustomer.payload)
                .where(
                    LagoCustomer.external_id == any_(literal(customers, ARRAY(Text))),
                    LagoCustomer.deleted_at.is_(None),
                )
                .order_by(LagoCustomer.mirrored_at)
            )
            self._readings |= dict.fromkeys(customers, Reading())
            self._readings |= {row.external_id: _reading(row.payload) for row in await self._uow.execute(newest_last)}

    def session(self, session_id: int) -> SessionFacts | None:
        """One of the charging sessions that were looked up."""
        return self._sessions.get(session_id)

    async def reservation(self, reservation_id: int) -> Reservation | None:
        """One reservation."""
        return await self._uow.session.get(Reservation, reservation_id, populate_existing=True)

    async def invoice(self, invoice_id: str) -> LagoInvoice | None:
        """One invoice of the mirror."""
        return await self._uow.session.get(LagoInvoice, invoice_id, populate_existing=True)

    @staticmethod
    def due_date(invoice: LagoInvoice) -> date | None:
        """When it is to be paid, where Lago says so."""
        return wire.day(invoice.payload, "payment_due_date")

    async def charger(self, charge_box_id: str) -> str:
        """What people call it."""
        query = select(Charger.friendly_name).where(func.lower(Charger.charge_box_id) == charge_box_id.lower())
        return await self._uow.session.scalar(query) or charge_box_id

    async def card_name(self, mapping_id: int | None) -> str | None:
        """What its driver calls a card."""
        query = select(TagMapping.display_name).where(TagMapping.id == mapping_id)
        name: str | None = await self._uow.session.scalar(query)
        return name

    async def driver_name(self, user_id: str | None) -> str | None:
        """A driver's name, or address."""
        user = None if user_id is None else await self._uow.session.get(User, UUID(user_id))
        return None if user is None else user.name or user.email

    async def active_cards(self, user_id: UUID | None) -> int:
        """How many of somebody's cards charge."""
        query = select(func.count()).select_from(TagMapping).where(TagMapping.user_id == user_id, TagMapping.is_active)
        return await self._uow.session.scalar(query) or 0

    def reading_of(self, user: User) -> Reading:
        """The language and the zone that Lago has for the customer of one of the people who were looked up."""
        return self._readings.get(user.lago_customer_external_id or "", Reading())


def _reading(payload: dict[str, Any]) -> Reading:
    zone = wire.text(payload, "timezone")
    return Reading(
        locale=wire.text(wire.nested(payload, "billing_configuration"), "document_locale"),
        time_zone=zone if zone in _ZONES else None,
    )
