"""Drivers' notifications (contract-customer §4.25 to §4.27). Who views a driver's account sees them and marks none."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from gateway.dependencies import CurrentDriver, UnitOfWork
from gateway.notifications import reading, service
from gateway.notifications.reading import PagedNotifications, UnreadLimit, WantedNotifications
from gateway.notifications.schemas import (
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
from polaris_common.http.errors import Forbidden, Unauthorized, errors

router = APIRouter(
    prefix="/api/customer/notifications", tags=["notifications"], responses=errors(Unauthorized, Forbidden)
)

NotificationId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]


@router.get("")
async def list_notifications(
    driver: CurrentDriver, uow: UnitOfWork, wanted: WantedNotifications, paging: PagedNotifications
) -> NotificationList:
    """What the driver was told, newest first."""
    return await reading.archive(uow, driver, wanted, paging)


@router.get("/unread")
async def list_unread_notifications(
    driver: CurrentDriver, uow: UnitOfWork, limit: UnreadLimit = 5
) -> UnreadNotifications:
    """The newest that the driver has neither read nor dismissed nor switched off."""
    return await reading.unread(uow, driver, limit=limit)


@router.get("/unread-count")
async def count_unread_notifications(driver: CurrentDriver, uow: UnitOfWork, response: Response) -> UnreadCount:
    """How many those are."""
    response.headers["cache-control"] = "no-store"
    return await reading.unread_count(uow, driver)


@router.get("/preferences")
async def get_notification_preferences(driver: CurrentDriver, uow: UnitOfWork) -> Preferences:
    """What the driver is told, and how."""
    return await service.preferences(uow, driver)


@router.put("/preferences", responses=errors(CannotSwitch))
async def set_notification_preferences(body: PreferenceChanges, driver: CurrentDriver, uow: UnitOfWork) -> Preferences:
    """Set switches; those that are not named stay."""
    return await service.switch(uow, driver, body.wanted())


@router.post("/read-all")
async def mark_all_notifications_read(driver: CurrentDriver, uow: UnitOfWork) -> NotificationsRead:
    """Mark everything as read."""
    return NotificationsRead(updated=await service.mark_all_read(uow, driver))


@router.post("/{notification_id}/read", responses=errors(NotificationNotFound))
async def mark_notification_read(
    notification_id: NotificationId, driver: CurrentDriver, uow: UnitOfWork
) -> NotificationChanged:
    """Mark one as read. Safe to repeat."""
    return NotificationChanged(updated=await service.mark_read(uow, driver, notification_id))


@router.delete("/{notification_id}", responses=errors(NotificationNotFound))
async def dismiss_notification(
    notification_id: NotificationId, driver: CurrentDriver, uow: UnitOfWork
) -> NotificationChanged:
    """Dismiss one; it stays in the archive. Safe to repeat."""
    return NotificationChanged(updated=await service.dismiss(uow, driver, notification_id))
