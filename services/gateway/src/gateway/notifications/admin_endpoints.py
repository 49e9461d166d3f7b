"""Operators' notifications (contract-admin §12): what all operators were told, and what is addressed to the caller."""

from fastapi import APIRouter

from gateway.dependencies import CurrentOperator, UnitOfWork, current_operator
from gateway.notifications import service
from gateway.notifications.schemas import NotificationChange, NotificationChanged, NotificationsRead
from gateway.notifications.service import NotificationNotFound
from gateway.notifications.shared import NotificationId, add_dismissal, add_reads, add_switches
from polaris_common.http.errors import NotFound, Unauthorized, errors

router = APIRouter(prefix="/api/admin/notifications", tags=["notifications"], responses=errors(Unauthorized, NotFound))

add_reads(router, current_operator)
add_switches(router, current_operator)
add_dismissal(router, current_operator)


@router.post("/mark-all-read")
async def mark_all_notifications_read(operator: CurrentOperator, uow: UnitOfWork) -> NotificationsRead:
    """Mark everything as read, for the caller alone."""
    return NotificationsRead(updated=await service.mark_all_read(uow, operator))


@router.patch("/{notification_id}", responses=errors(NotificationNotFound))
async def change_notification(
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
