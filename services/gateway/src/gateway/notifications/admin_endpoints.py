"""Operators' notifications (contract-admin §12)."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from gateway.dependencies import CurrentOperator, UnitOfWork
from gateway.notifications import reading, service
from gateway.notifications.reading import PagedNotifications, UnreadLimit, WantedNotifications
from gateway.notifications.schemas import (
    NotificationChange,
    NotificationChanged,
    NotificationList,
    NotificationsRead,
    PreferenceChanges,
    Preferences,
    UnreadCount,
    UnreadNotifications,
)
from gateway.notifications.service import CannotSwitch, NotificationNotFound
from gateway.wire import MAX_BIGINT
from polaris_common.http.errors import NotFound, Unauthorized, errors

router = APIRouter(prefix="/api/admin/notifications", tags=["notifications"], responses=errors(Unauthorized, NotFound))

NotificationId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]


@router.get("")
async def list_operator_notifications(
    operator: CurrentOperator, uow: UnitOfWork, wanted: WantedNotifications, paging: PagedNotifications
) -> NotificationList:
    """What operators were told, newest first, and what was addressed to the caller; nothing of drivers."""
    return await reading.archive(uow, operator, wanted, paging)


@router.get("/unread")
async def list_unread_operator_notifications(
    operator: CurrentOperator, uow: UnitOfWork, limit: UnreadLimit = 5
) -> UnreadNotifications:
    """The newest that the caller has neither read nor dismissed nor switched off."""
    return await reading.unread(uow, operator, limit=limit)


@router.get("/unread-count")
async def count_unread_operator_notifications(
    operator: CurrentOperator, uow: UnitOfWork, response: Response
) -> UnreadCount:
    """How many those are."""
    response.headers["cache-control"] = "no-store"
    return await reading.unread_count(uow, operator)


@router.get("/preferences")
async def get_operator_notification_preferences(operator: CurrentOperator, uow: UnitOfWork) -> Preferences:
    """What the caller is told, and how."""
    return await service.preferences(uow, operator)


@router.put("/preferences", responses=errors(CannotSwitch))
async def set_operator_notification_preferences(
    body: PreferenceChanges, operator: CurrentOperator, uow: UnitOfWork
) -> Preferences:
    """Set switches; those that are not named stay."""
    return await service.switch(uow, operator, body.wanted())


@router.post("/mark-all-read")
async def mark_all_operator_notifications_read(operator: CurrentOperator, uow: UnitOfWork) -> NotificationsRead:
    """Mark everything as read, for the caller alone."""
    return NotificationsRead(updated=await service.mark_all_read(uow, operator))


@router.patch("/{notification_id}", responses=errors(NotificationNotFound))
async def change_operator_notification(
    *,
    notification_id: NotificationId,
    body: NotificationChange | None = None,
    operator: CurrentOperator,
    uow: UnitOfWork,
) -> NotificationChanged:
    """Mark one as read (the default) or dismiss it, for the caller alone. Safe to repeat."""
    dismissing = body is not None and body.action == "dismiss"
    change = service.dismiss if dismissing else service.mark_read
    return NotificationChanged(updated=await change(uow, operator, notification_id))


@router.delete("/{notification_id}", responses=errors(NotificationNotFound))
async def dismiss_operator_notification(
    notification_id: NotificationId, operator: CurrentOperator, uow: UnitOfWork
) -> NotificationChanged:
    """Dismiss one, for the caller alone; it stays in the archive. Safe to repeat."""
    return NotificationChanged(updated=await service.dismiss(uow, operator, notification_id))
