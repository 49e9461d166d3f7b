"""The projector: what happened becomes what people are told, once, whatever is killed when.

It follows the numbered event log with a cursor in the database. A batch of events, the notifications and mails made of
them and the cursor's move are one transaction: killed anywhere, nothing has happened, and the next projector, in
whichever replica, makes the same of the same events. Replicas take turns by the cursor's row lock. Telling people thus
never delays what it is about, which was committed long before.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog

from notifier.metrics import EVENTS_UNTOLD, NOTIFICATION_FAILURES
from notifier.notifications.links import link
from notifier.notifications.repository import count_untold, move_cursor, operators, people, take_cursor
from notifier.notifications.rule import Rule
from notifier.notifications.rules import heard, rules_for
from polaris_common.clock import to_wire
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.events.catalogue import OPERATORS, Audience, NotificationCreated, user_audience
from polaris_common.events.log import read_after
from polaris_common.models import Notification, Role, User
from polaris_common.notifications.preferences import PreferenceRepository, is_on
from polaris_common.notifications.repository import NewNotification, NotificationRepository
from polaris_common.notifications.topics import TOPICS, Channel, Severity, SourceType, Topic

BATCH = 200
FAILED = "notification.failed"

log = structlog.get_logger(__name__)


class Mails(Protocol):
    """What puts the mail that goes with a notification on its way."""

    async def queue(self, uow: UnitOfWork, rule: Rule, event: Any, notification: Notification) -> None:
        """Queue it in the notification's own transaction, for whoever wants it."""
        ...


class Projector:
    """Turns the event log into notifications; any number may run side by side."""

    def __init__(self, database: Database, mails: Mails | None = None, *, dashboard: str | None = None) -> None:
        """``mails``: None where no mail is sent. ``dashboard``: Lago's address for people."""
        self._database, self._mails, self._dashboard = database, mails, dashboard

    async def run(self, *, batch: int = BATCH) -> None:
        """Tell whatever has not been told.

        Raises:
            OSError, SQLAlchemyError: the database is away; the rest is told later.
        """
        async with self._database.glance() as uow:
            untold = await count_untold(uow)
        EVENTS_UNTOLD.set(untold)
        more = untold > 0
        while more:
            more = await self._step(batch)

    async def _step(self, batch: int) -> bool:
        """Take one batch; whether there may be more."""
        async with self._database.unit_of_work() as uow:
            seq = await take_cursor(uow)
            if seq is None:
                return False
            events = await read_after(uow, seq, limit=batch)
            for event in events:
                if heard(event.type):
                    await self._tell(uow, event)
            if events:
                await move_cursor(uow, events[-1].seq)
        return len(events) == batch

    async def _tell(self, uow: UnitOfWork, event: Any) -> None:
        """Tell one event; one that cannot be told is itself told, and stops nobody."""
        made: list[Notification] = []
        try:
            async with uow.session.begin_nested():
                for rule in rules_for(event.type, event.payload):
                    made += await self._follow(uow, rule, event)
        except Exception as error:
            if is_outage(error):
                raise
            NOTIFICATION_FAILURES.labels("notification").inc()
            log.exception("notification_not_made", type=event.type, seq=event.seq)
            made = await _failed(uow, event)
        for notification in made:
            await _announce(uow, notification)

    async def _follow(self, uow: UnitOfWork, rule: Rule, event: Any) -> list[Notification]:
        """What a rule makes of an event, mails included; nothing if it was made before."""
        readers: Sequence[User | None] = [None]
        if rule.reader is Role.CUSTOMER:
            readers = await people(uow, _addressees(event.audience))
        made = []
        for reader in readers:
            notification = await NotificationRepository(uow).add(self._notification(rule, event, reader))
            if notification is not None:
                made.append(notification)
                await self._mail(uow, rule, event, notification)
        return made

    async def _mail(self, uow: UnitOfWork, rule: Rule, event: Any, notification: Notification) -> None:
        """A mail that cannot be made costs nobody the notification."""
        if self._mails is None:
            return
        try:
            async with uow.session.begin_nested():
                await self._mails.queue(uow, rule, event, notification)
        except Exception as error:
            if is_outage(error):
                raise
            NOTIFICATION_FAILURES.labels("mail").inc()
            log.exception("notification_mail_not_made", type=event.type, seq=event.seq)

    def _notification(self, rule: Rule, event: Any, reader: User | None) -> NewNotification:
        payload = event.payload
        source, source_id = rule.source_of(payload)
        opens = str(payload[rule.link_id]) if rule.link_id else source_id
        name = "operators" if reader is None else str(reader.id)
        return NewNotification(
            dedupe_key=rule.dedupe_key(payload, event_id=str(event.id), at=event.created_at, reader=name),
            kind=rule.kind if rule.kind != "operator.notice" else payload["kind"],
            topic=rule.topic,
            severity=rule.severity_of(payload),
            title=rule.write(rule.title, payload),
            body=rule.write(rule.body, payload),
            user_id=None if reader is None else reader.id,
            source_type=source,
            source_id=source_id,
            source_url=link(rule.reader, rule.link_source or source, opens, dashboard=self._dashboard),
            context=payload,
            created_at=event.created_at,
        )


def _addressees(audience: Sequence[str]) -> list[UUID]:
    """The people whom an event is for, besides operators as such."""
    prefix = user_audience(UUID(int=0)).partition(":")[0] + ":"
    return [UUID(name.removeprefix(prefix)) for name in audience if name.startswith(prefix)]


async def _announce(uow: UnitOfWork, row: Notification) -> None:
    """Say so to whoever has not switched the topic off in the app."""
    if (audience := await _listeners(uow, Topic(row.topic), row.user_id)) is None:
        return
    uow.emit(
        NotificationCreated(
            audience=audience,
            id=row.id,
            kind=row.kind,
            severity=row.severity,
            title=row.title,
            body=row.body,
            source_type=row.source_type,
            source_id=row.source_id,
            source_url=row.source_url,
            admin_user_id=row.user_id,
            created_at=to_wire(row.created_at),
        )
    )


async def _listeners(uow: UnitOfWork, topic: Topic, user_id: UUID | None) -> Audience | None:
    rule = TOPICS[topic].channels[Channel.IN_APP]
    chosen = await PreferenceRepository(uow).differing(topic, Channel.IN_APP)
    if user_id is not None:
        return Audience((user_audience(user_id),)) if is_on(rule, chosen.get(user_id)) else None
    if all(is_on(rule, enabled) for enabled in chosen.values()):
        return Audience((OPERATORS,))
    wanting = [each.id for each in await operators(uow) if is_on(rule, chosen.get(each.id))]
    return Audience(tuple(user_audience(each) for each in wanting)) if wanting else None


async def _failed(uow: UnitOfWork, event: Any) -> list[Notification]:
    """For operators: an event could not be told. Its payload stays in the log."""
    made = await NotificationRepository(uow).add(
        NewNotification(
            dedupe_key=f"{FAILED}:{event.id}",
            kind=FAILED,
            topic=Topic.SYSTEM,
            severity=Severity.ERROR,
            title="A notification could not be made",
            body=f"Event {event.seq} ({event.type}) is not told; the notifier's log says why.",
            source_type=SourceType.SYSTEM,
            created_at=event.created_at,
        )
    )
    return [] if made is None else [made]
