"""What an event says to one reader, and telling their screens that it has been said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from notifier.notifications.links import link
from notifier.notifications.readers import Readers
from notifier.notifications.rule import Rule
from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import OPERATORS, Audience, NotificationCreated, user_audience
from polaris_common.models import Notification, User
from polaris_common.notifications.repository import NewNotification
from polaris_common.notifications.topics import Channel, Severity, SourceType, Topic

FAILED = "notification.failed"
_USER = user_audience(UUID(int=0)).partition(":")[0] + ":"


@dataclass(frozen=True)
class Told:
    """A notification that is made just now, and what it comes from."""

    rule: Rule
    event: Any
    notification: Notification


def addressees(audience: Sequence[str]) -> list[UUID]:
    """The people whom an event is for, besides operators as such."""
    return [UUID(name.removeprefix(_USER)) for name in audience if name.startswith(_USER)]


def notification_of(rule: Rule, event: Any, reader: User | None, *, dashboard: str | None) -> NewNotification:
    """What ``rule`` says of ``event`` to a driver, or to all operators."""
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
        source_url=link(rule.reader, rule.link_source or source, opens, dashboard=dashboard),
        context=payload,
        created_at=event.created_at,
    )


def failure(event: Any) -> NewNotification:
    """For operators: an event could not be told. Its payload stays in the log."""
    return NewNotification(
        dedupe_key=f"{FAILED}:{event.id}",
        kind=FAILED,
        topic=Topic.SYSTEM,
        severity=Severity.ERROR,
        title="A notification could not be made",
        body=f"Event {event.seq} ({event.type}) is not told; the notifier's log says why.",
        source_type=SourceType.SYSTEM,
        created_at=event.created_at,
    )


async def announce(uow: UnitOfWork, readers: Readers, made: Sequence[Notification]) -> None:
    """Say so to whoever has not switched the topic off in the app."""
    for row in made:
        audience = await _listeners(readers, Topic(row.topic), row.user_id)
        if audience is not None:
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


async def _listeners(readers: Readers, topic: Topic, user_id: UUID | None) -> Audience | None:
    if user_id is None and await readers.all_want(topic, Channel.IN_APP):
        return Audience((OPERATORS,))
    candidates = await readers.operators() if user_id is None else await readers.people([user_id])
    wanting = await readers.wanting(topic, Channel.IN_APP, candidates)
    return Audience(tuple(user_audience(each.id) for each in wanting)) if wanting else None
