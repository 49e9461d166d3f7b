"""Drivers' notifications (contract-customer §4.25 to §4.27). Who views a driver's account sees them and marks none."""

from fastapi import APIRouter

from gateway.dependencies import CurrentDriver, UnitOfWork, current_driver
from gateway.notifications import service
from gateway.notifications.schemas import NotificationChanged, NotificationsRead
from gateway.notifications.service import NotificationNotFound
from gateway.notifications.shared import NotificationId, add_dismissal, add_reads, add_switches
from polaris_common.http.errors import Forbidden, Unauthorized, errors

router = APIRouter(
    prefix="/api/customer/notifications", tags=["notifications"], responses=errors(Unauthorized, Forbidden)
)

add_reads(router, current_driver)
add_switches(router, current_driver)
add_dismissal(router, current_driver)


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
