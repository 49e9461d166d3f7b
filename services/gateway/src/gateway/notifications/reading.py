"""The reads that both surfaces share."""

from typing import Annotated, Literal

from fastapi import Depends, Query

from gateway.lists import DEFAULT_LIMIT, MAX_LIMIT
from gateway.notifications.schemas import NotificationList, NotificationRead, UnreadCount, UnreadNotifications
from gateway.notifications.service import Reader
from gateway.wire import MAX_BIGINT
from polaris_common.db import UnitOfWork
from polaris_common.db.pages import Paging
from polaris_common.notifications.repository import NotificationRepository, Wanted
from polaris_common.notifications.topics import Severity, SourceType


def wanted(
    severity: Severity | None = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    source_type: Annotated[SourceType | None, Query(alias="sourceType")] = None,
    read_state: Annotated[Literal["read", "unread", "any"], Query(alias="readState")] = "any",
) -> Wanted:
    """Which notifications: of a severity, a kind, about something, read (or dismissed) or not."""
    return Wanted(severity, kind, source_type, None if read_state == "any" else read_state == "unread")


def paging(
    skip: Annotated[int | None, Query(ge=0, le=MAX_BIGINT)] = None,
    offset: Annotated[int, Query(ge=0, le=MAX_BIGINT)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Paging:
    """Which page; ``offset`` is another name for ``skip``."""
    return Paging(offset if skip is None else skip, limit)


WantedNotifications = Annotated[Wanted, Depends(wanted)]
PagedNotifications = Annotated[Paging, Depends(paging)]
UnreadLimit = Annotated[int, Query(ge=1, le=20)]


async def archive(uow: UnitOfWork, reader: Reader, wanted: Wanted, paging: Paging) -> NotificationList:
    """One page, newest first, what was read or dismissed included."""
    return NotificationList.of(await NotificationRepository(uow).archive(reader, wanted, paging), NotificationRead.of)


async def unread(uow: UnitOfWork, reader: Reader, *, limit: int) -> UnreadNotifications:
    """The newest that wait to be read."""
    rows = await NotificationRepository(uow).unread(reader, limit=limit)
    return UnreadNotifications(items=[NotificationRead.of(row) for row in rows])


async def unread_count(uow: UnitOfWork, reader: Reader) -> UnreadCount:
    """How many wait to be read."""
    return UnreadCount(count=await NotificationRepository(uow).count_unread(reader))
