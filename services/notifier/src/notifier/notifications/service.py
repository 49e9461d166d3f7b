"""The projector: what happened becomes what people are told, once, whatever is killed when.

It follows the numbered event log with a cursor in the database. A batch of events, the notifications and mails made of
them and the cursor's move are one transaction: killed anywhere, nothing has happened, and the next projector, in
whichever replica, makes the same of the same events. Replicas take turns by the cursor's row lock. Telling people thus
never delays what it is about, which was committed long before.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from notifier.metrics import EVENTS_UNTOLD, NOTIFICATION_FAILURES
from notifier.notifications.readers import Readers
from notifier.notifications.repository import count_untold, move_cursor, take_cursor
from notifier.notifications.rule import Rule
from notifier.notifications.rules import HEARD, rules_for
from notifier.notifications.telling import Told, addressees, announce, failure, notification_of
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.events.log import last_seq, read_after
from polaris_common.models import Role, User
from polaris_common.notifications.repository import NotificationRepository

BATCH = 200

log = structlog.get_logger(__name__)


class Mails(Protocol):
    """What puts the mails that go with notifications on their way."""

    async def queue(self, uow: UnitOfWork, readers: Readers, told: Sequence[Told]) -> None:
        """Queue them in the notifications' own transaction, for whoever wants them."""
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
            newest = await last_seq(uow)
            events = await read_after(uow, seq, types=HEARD, limit=batch)
            is_full = len(events) == batch
            if events:
                await self._tell(uow, events)
                seq = events[-1].seq
            # Read after ``newest``: whatever is up to it and is not among the events is nothing to tell.
            await move_cursor(uow, seq if is_full else max(seq, newest))
        return is_full

    async def _tell(self, uow: UnitOfWork, events: Sequence[Any]) -> None:
        """Tell events together; where that fails each alone, so that one that cannot be told stops nobody."""
        readers = Readers(uow)
        try:
            async with uow.session.begin_nested():
                told = await self._notify(uow, readers, events)
                await self._mail(uow, readers, told)
        except Exception as error:
            if is_outage(error):
                raise
            for event in events:
                await self._tell_alone(uow, event)
        else:
            await announce(uow, readers, [each.notification for each in told])

    async def _tell_alone(self, uow: UnitOfWork, event: Any) -> None:
        """Tell one event. One that cannot be told is itself told; a mail that cannot be made costs no notification."""
        readers = Readers(uow)
        told: Sequence[Told] = ()
        try:
            async with uow.session.begin_nested():
                told = await self._notify(uow, readers, [event])
        except Exception as error:
            _count("notification", event, error)
            made = await NotificationRepository(uow).add([failure(event)])
        else:
            made = [each.notification for each in told]
        try:
            async with uow.session.begin_nested():
                await self._mail(uow, readers, told)
        except Exception as error:
            _count("mail", event, error)
        await announce(uow, readers, made)

    async def _notify(self, uow: UnitOfWork, readers: Readers, events: Sequence[Any]) -> list[Told]:
        """What the rules make of events, without what was told before."""
        wanted = [
            (event, rule, addressees(event.audience) if rule.reader is Role.CUSTOMER else None)
            for event in events
            for rule in rules_for(event.type, event.payload)
        ]
        await readers.people(each for _, _, ids in wanted for each in ids or ())  # all of them at once
        sources: dict[str, tuple[Rule, Any]] = {}
        new = []
        for event, rule, ids in wanted:
            told_to: Sequence[User | None] = [None] if ids is None else await readers.people(ids)
            for reader in told_to:
                each = notification_of(rule, event, reader, dashboard=self._dashboard)
                sources.setdefault(each.dedupe_key, (rule, event))
                new.append(each)
        made = await NotificationRepository(uow).add(new)
        return [Told(*sources[each.dedupe_key], each) for each in made]

    async def _mail(self, uow: UnitOfWork, readers: Readers, told: Sequence[Told]) -> None:
        if self._mails is not None and (with_mail := [each for each in told if each.rule.mail is not None]):
            await self._mails.queue(uow, readers, with_mail)


def _count(part: str, event: Any, error: Exception) -> None:
    """Note what could not be made.

    Raises:
        Exception: ``error``, when it is the database that is away.
    """
    if is_outage(error):
        raise error
    NOTIFICATION_FAILURES.labels(part).inc()
    log.error(f"{part}_not_made", type=event.type, seq=event.seq, exc_info=error)
