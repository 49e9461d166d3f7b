"""The mail that goes with a notification, queued in its transaction: both exist, or neither.

Who gets one has an address and has not switched the topic's mails off. Of several alerts of one kind in an hour
operators get a mail for the first; the others are in the app.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from notifier.notifications.mail_facts import MailFacts
from notifier.notifications.readers import Readers
from notifier.notifications.rule import MailKind
from notifier.notifications.telling import Told
from polaris_common.db import UnitOfWork
from polaris_common.email.queue import MailTo, queue_mails
from polaris_common.email.templates import (
    AccountInactive,
    AccountReactivated,
    CardLost,
    Energy,
    InvoiceAvailable,
    MailContent,
    Money,
    OperatorAlert,
    ReservationCancelled,
    SessionSummary,
)
from polaris_common.models import Notification, User
from polaris_common.notifications.repository import NotificationRepository
from polaris_common.notifications.topics import Channel

QUIET = timedelta(hours=1)
_SUMMARY = MailKind.SESSION_SUMMARY
FEED = "/notifications"
"""Where operators read what has no page of its own."""


class MailDesk:
    """Queues mails."""

    async def queue(self, uow: UnitOfWork, readers: Readers, told: Sequence[Told]) -> None:
        """Queue the notifications' mails for whoever wants them; ``told`` are those whose rule names a mail."""
        facts = MailFacts(uow)
        wanted = [(each, people) for each in told if (people := await _readers(readers, each))]
        await facts.look_up(
            sessions=[each.event.payload["sessionId"] for each, _ in wanted if each.rule.mail is _SUMMARY],
            readers=[reader for _, people in wanted for reader in people],
        )
        mails = []
        for each, people in wanted:
            content = await _content(uow, facts, each)
            if content is not None:
                mails += [_addressed(facts, content, reader) for reader in people]
        await queue_mails(uow, mails)


async def _readers(readers: Readers, told: Told) -> list[User]:
    user_id = told.notification.user_id
    candidates = await readers.operators() if user_id is None else await readers.people([user_id])
    return [each for each in await readers.wanting(told.rule.topic, Channel.EMAIL, candidates) if each.email]


def _addressed(facts: MailFacts, content: MailContent, reader: User) -> MailTo:
    reading = facts.reading_of(reader)
    return MailTo(reader.email or "", content, locale=reading.locale, time_zone=reading.time_zone)


async def _content(uow: UnitOfWork, facts: MailFacts, told: Told) -> MailContent | None:
    """What the mail says; None when what it is about is gone, or no mail is due after all."""
    event, notification, payload = told.event, told.notification, told.event.payload
    match told.rule.mail:
        case MailKind.SESSION_SUMMARY:
            return _session_summary(facts, payload["sessionId"])
        case MailKind.RESERVATION_CANCELLED:
            return await _reservation_cancelled(facts, payload["reservationId"])
        case MailKind.INVOICE_AVAILABLE:
            return await _invoice_available(facts, payload["invoiceId"])
        case MailKind.ACCOUNT_INACTIVE:
            return AccountInactive() if await facts.active_cards(notification.user_id) == 0 else None
        case MailKind.ACCOUNT_REACTIVATED:
            others = await facts.active_cards(notification.user_id) - len(payload["userMappingIds"])
            return None if others > 0 else AccountReactivated()
        case MailKind.CARD_LOST:
            return await _card_lost(facts, event, notification)
        case MailKind.OPERATOR_ALERT:
            repeated = await NotificationRepository(uow).told_shortly_before(notification, within=QUIET)
            return None if repeated else _alert(notification)
        case None:
            return None


def _session_summary(facts: MailFacts, session_id: int) -> MailContent | None:
    """The cost is not known before the invoice."""
    known = facts.session(session_id)
    if known is None:
        return None
    session = known.session
    if session.stopped_at is None or session.stop_wh is None or session.start_wh is None:
        return None
    return SessionSummary(
        session_id=session.id,
        charger=known.charger or session.charge_box_id,
        started_at=session.started_at,
        ended_at=session.stopped_at,
        energy=Energy(session.stop_wh - session.start_wh),
        cost=None,
        card=known.card,
    )


async def _reservation_cancelled(facts: MailFacts, reservation_id: int) -> MailContent | None:
    reservation = await facts.reservation(reservation_id)
    if reservation is None:
        return None
    return ReservationCancelled(
        charger=await facts.charger(reservation.charge_box_id),
        starts_at=reservation.start_at,
        ends_at=reservation.end_at,
        reason=reservation.reason,
    )


async def _invoice_available(facts: MailFacts, invoice_id: str) -> MailContent | None:
    invoice = await facts.invoice(invoice_id)
    if (
        invoice is None
        or invoice.number is None
        or invoice.issuing_date is None
        or invoice.total_amount_cents is None
        or invoice.currency is None
    ):
        return None
    return InvoiceAvailable(
        invoice_id=invoice_id,
        number=invoice.number,
        issued_on=invoice.issuing_date,
        total=Money(invoice.total_amount_cents, invoice.currency),
        due_on=facts.due_date(invoice),
    )


async def _card_lost(facts: MailFacts, event: Any, notification: Notification) -> MailContent:
    tag_pk: int | None = event.payload.get("ocppTagPk")
    if tag_pk is None:
        return _alert(notification)
    return CardLost(
        tag_pk=tag_pk,
        card=await facts.card_name(event.payload["cardId"]) or str(tag_pk),
        driver=await facts.driver_name(event.payload.get("userId")),
        reported_at=event.created_at,
        reason=event.payload.get("reason"),
    )


def _alert(notification: Notification) -> MailContent:
    page = notification.source_url
    return OperatorAlert(
        headline=notification.title,
        explanation=notification.body or notification.title,
        occurred_at=notification.created_at,
        subject_of=notification.source_id,
        path=page if page is not None and page.startswith("/") else FEED,
    )
