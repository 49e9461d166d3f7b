"""The routes that operators and drivers both have: each reads, switches and dismisses what is theirs."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from gateway.dependencies import UnitOfWork
from gateway.notifications import reading, service
from gateway.notifications.reading import PagedNotifications, UnreadLimit, WantedNotifications
from gateway.notifications.schemas import (
    NotificationChanged,
    NotificationList,
    PreferenceChanges,
    Preferences,
    UnreadCount,
    UnreadNotifications,
)
from gateway.notifications.service import CannotSwitch, NotificationNotFound, Reader
from gateway.wire import MAX_BIGINT
from polaris_common.http.errors import errors

NotificationId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]

Who = Callable[..., Awaitable[Reader]]
"""The dependency that says who is calling."""


def add_reads(router: APIRouter, who: Who) -> None:
    """The archive and the bell."""
    Caller = Annotated[Reader, Depends(who)]  # noqa: N806 - a type

    @router.get("")
    async def list_notifications(
        reader: Caller, uow: UnitOfWork, wanted: WantedNotifications, paging: PagedNotifications
    ) -> NotificationList:
        """What the caller was told, newest first; what was read or dismissed included."""
        return await reading.archive(uow, reader, wanted, paging)

    @router.get("/unread")
    async def list_unread_notifications(reader: Caller, uow: UnitOfWork, limit: UnreadLimit = 5) -> UnreadNotifications:
        """The newest that the caller has neither read nor dismissed nor switched off."""
        return await reading.unread(uow, reader, limit=limit)

    @router.get("/unread-count")
    async def count_unread_notifications(reader: Caller, uow: UnitOfWork, response: Response) -> UnreadCount:
        """How many those are."""
        response.headers["cache-control"] = "no-store"
        return await reading.unread_count(uow, reader)


def add_switches(router: APIRouter, who: Who) -> None:
    """What the caller is told, and how."""
    Caller = Annotated[Reader, Depends(who)]  # noqa: N806 - a type

    @router.get("/preferences")
    async def get_notification_preferences(reader: Caller, uow: UnitOfWork) -> Preferences:
        """What the caller is told, topic by topic, and on which channels."""
        return await service.preferences(uow, reader)

    @router.put("/preferences", responses=errors(CannotSwitch))
    async def set_notification_preferences(body: PreferenceChanges, reader: Caller, uow: UnitOfWork) -> Preferences:
        """Set switches; those that are not named stay."""
        return await service.switch(uow, reader, body.wanted())


def add_dismissal(router: APIRouter, who: Who) -> None:
    """Taking one out of the caller's way."""
    Caller = Annotated[Reader, Depends(who)]  # noqa: N806 - a type

    @router.delete("/{notification_id}", responses=errors(NotificationNotFound))
    async def dismiss_notification(
        notification_id: NotificationId, reader: Caller, uow: UnitOfWork
    ) -> NotificationChanged:
        """Dismiss one, for the caller alone; it stays in the archive. Safe to repeat."""
        return NotificationChanged(updated=await service.dismiss(uow, reader, notification_id))
