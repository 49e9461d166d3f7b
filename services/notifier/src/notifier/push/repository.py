"""The queue of pushes, as its sender sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, text, update

from polaris_common.db import UnitOfWork
from polaris_common.models import AppDevice, OutgoingPush, Pairing, PairingStatus, PushKind

AT_ONCE = 20
RETENTION_DAYS = 7

SENT, TAKEN, EXPIRED, OVER, UNREACHABLE = "sent", "taken", "expired", "over", "unreachable"
"""``over``: nobody waits for the card any more. ``unreachable``: the device has no push token by now."""

_DELETE_OLD = text("DELETE FROM outgoing_pushes WHERE created_at < now() - make_interval(days => :days)")


@dataclass(frozen=True)
class DuePush:
    """A push that is the caller's to send."""

    push: OutgoingPush
    device: AppDevice
    pairing: Pairing | None

    @property
    def nobody_waits(self) -> bool:
        """The card that it asks for was read or is not wanted any more."""
        return self.push.kind == PushKind.SCAN_REQUEST and (
            self.pairing is None or self.pairing.status != PairingStatus.ARMED
        )


class PushRepository:
    """Every query on waiting pushes."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def take(self) -> Sequence[DuePush]:
        """What is due now; taken for good unless the caller gives it back, so that nothing is sent twice."""
        await self._uow.execute(
            update(OutgoingPush)
            .where(OutgoingPush.finished_at.is_(None), OutgoingPush.expires_at <= func.now())
            .values(finished_at=func.now(), outcome=EXPIRED)
        )
        due = (
            select(OutgoingPush.id)
            .where(OutgoingPush.finished_at.is_(None), OutgoingPush.next_attempt_at <= func.now())
            .order_by(OutgoingPush.next_attempt_at)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(OutgoingPush)
            .where(OutgoingPush.id.in_(due))
            .values(attempts=OutgoingPush.attempts + 1, finished_at=func.now(), outcome=TAKEN)
            .returning(OutgoingPush.id)
        )
        ids = (await self._uow.execute(taken)).scalars().all()
        if not ids:
            return []
        query = (
            select(OutgoingPush, AppDevice, Pairing)
            .join(AppDevice, AppDevice.id == OutgoingPush.device_id)
            .outerjoin(Pairing, Pairing.id == OutgoingPush.pairing_id)
            .where(OutgoingPush.id.in_(ids))
        )
        rows = await self._uow.execute(query)
        return [DuePush(row.OutgoingPush, row.AppDevice, row.Pairing) for row in rows]

    async def finished(self, push_id: UUID, outcome: str) -> None:
        """Nothing more is to be done about it."""
        await self._uow.execute(update(OutgoingPush).where(OutgoingPush.id == push_id).values(outcome=outcome))

    async def again(self, push_id: UUID, reason: str, *, seconds: float) -> None:
        """It was not delivered; try again after ``seconds``, if it has not expired by then."""
        await self._uow.execute(
            update(OutgoingPush)
            .where(OutgoingPush.id == push_id)
            .values(finished_at=None, outcome=reason, next_attempt_at=func.now() + timedelta(seconds=seconds))
        )

    async def forget_token(self, device_id: UUID, token: str) -> None:
        """Push there no more, unless the device has another token by now."""
        await self._uow.execute(
            update(AppDevice)
            .where(AppDevice.id == device_id, AppDevice.push_token == token)
            .values(push_token=None, apns_environment=None)
        )

    async def delete_old(self) -> int:
        """Forget pushes of long ago; how many."""
        return await self._uow.write(_DELETE_OLD, {"days": RETENTION_DAYS})
