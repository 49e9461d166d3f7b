"""What readers do with their notifications. Whoever marks something changes nobody else's list."""

from uuid import UUID

from gateway.notifications.schemas import Preferences
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import Audience, NotificationRead, user_audience
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.principals import Driver, Operator
from polaris_common.models import Role
from polaris_common.notifications.preferences import PreferenceRepository, topics_of
from polaris_common.notifications.repository import NotificationRepository
from polaris_common.notifications.topics import TOPICS, Channel, Topic

Reader = Operator | Driver


class NotificationNotFound(NotFound):
    """There is no such notification, or it is not the caller's to see."""

    code, message = "notification_not_found", "There is no such notification."


class CannotSwitch(ApiError):
    """A topic that the caller does not have, a channel that it does not use, or one that must stay on."""

    status, code, message = 422, "cannot_switch", "This cannot be switched."


async def mark_read(uow: UnitOfWork, reader: Reader, notification_id: int) -> bool:
    """Mark one as read; whether it was not.

    Raises:
        NotificationNotFound: it does not exist for ``reader``.
    """
    await _require(uow, reader, notification_id)
    changed = await NotificationRepository(uow).mark_read(reader, notification_id)
    if changed:
        _tell(uow, reader, notification_id, count=1)
    return changed


async def dismiss(uow: UnitOfWork, reader: Reader, notification_id: int) -> bool:
    """Take one out of the reader's way; it stays in the archive. Whether it was not dismissed yet.

    Raises:
        NotificationNotFound: it does not exist for ``reader``.
    """
    was_unread = await _require(uow, reader, notification_id)
    changed = await NotificationRepository(uow).dismiss(reader, notification_id)
    if changed:
        _tell(uow, reader, notification_id, count=int(was_unread))
    return changed


async def mark_all_read(uow: UnitOfWork, reader: Reader) -> int:
    """Mark everything as read; how many were neither read nor dismissed."""
    count = await NotificationRepository(uow).mark_all_read(reader)
    if count:
        _tell(uow, reader, None, count=count)
    return count


async def preferences(uow: UnitOfWork, reader: Reader) -> Preferences:
    """What the reader is told, topic by topic."""
    return Preferences.of(topics_of(_role(reader)), await PreferenceRepository(uow).of(reader.user_id))


async def switch(uow: UnitOfWork, reader: Reader, wanted: dict[tuple[Topic, Channel], bool]) -> Preferences:
    """Set switches.

    Raises:
        CannotSwitch: one of them is not there or must stay on; nothing has changed.
    """
    theirs = topics_of(_role(reader))
    for (topic, channel), enabled in wanted.items():
        rule = TOPICS[topic].channels.get(channel) if topic in theirs else None
        if rule is None or (rule.mandatory and not enabled):
            raise CannotSwitch(fields={"topic": topic.value})
    await PreferenceRepository(uow).switch(reader.user_id, wanted)
    return await preferences(uow, reader)


async def _require(uow: UnitOfWork, reader: Reader, notification_id: int) -> bool:
    """Whether it is unread."""
    seen = await NotificationRepository(uow).get(reader, notification_id)
    if seen is None:
        raise NotificationNotFound
    return seen.receipt is None or (seen.receipt.read_at is None and seen.receipt.dismissed_at is None)


def _tell(uow: UnitOfWork, reader: Reader, notification_id: int | None, *, count: int) -> None:
    """The reader's other windows."""
    reader_id: UUID = reader.user_id
    audience = Audience((user_audience(reader_id),))
    uow.emit(NotificationRead(audience=audience, id=notification_id, admin_user_id=reader_id, count=count))


def _role(reader: Reader) -> Role:
    return Role.ADMIN if isinstance(reader, Operator) else Role.CUSTOMER
