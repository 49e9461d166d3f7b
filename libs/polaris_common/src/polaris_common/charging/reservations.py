"""Reservations: booked here, held by the charger through the sync-worker's upkeep, never overlapping by constraint."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.exc import IntegrityError

from polaris_common.charging.chargers import existing_charge_box
from polaris_common.clock import to_wire
from polaris_common.db import Repository
from polaris_common.events.catalogue import Audience, DomainEvent, ReservationCancelled, ReservationChanged
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.principals import Device, Driver, Operator, Principal
from polaris_common.models import Reservation, ReservationStatus

BLOCKING = (ReservationStatus.PENDING, ReservationStatus.CONFIRMED, ReservationStatus.ACTIVE)
"""What keeps others away."""

BLACKOUT_TAG_PK, BLACKOUT_ID_TAG = -1, "admin-blackout"
"""In place of a tag: the connector is kept free for nobody. SteVe knows no such tag, so it is never sent."""

PAST_GRACE = timedelta(minutes=1)
"""A start so little in the past means now."""

LONGEST = timedelta(days=7)

_OVERLAP = "reservations_no_overlap"


class ReservationNotFound(NotFound):
    """There is no such reservation, or it is somebody else's."""

    code, message = "reservation_not_found", "There is no such reservation."


class WindowInvalid(ApiError):
    """The window lies in the past, is empty, or is longer than a reservation may be."""

    status, code = 400, "window_invalid"
    message = "A reservation must end after it starts, start in the future and last a week at most."


class ReservationClosed(ApiError):
    """It has begun or ended: what has happened cannot be changed."""

    status, code, message = 409, "reservation_closed", "This reservation has already begun or ended."


class ReservationConflict(ApiError):
    """The connector is taken in that time."""

    status, code = 409, "reservation_conflict"
    message = "Time window conflicts with existing reservation(s)"

    def __init__(self, conflicts: list[Reservation]) -> None:
        super().__init__()
        self.conflicts = conflicts


@dataclass(frozen=True)
class Window:
    """What is to be kept, and when: from ``start_at`` until just before ``end_at``."""

    charge_box_id: str
    connector_id: int
    """0 is the whole charge box."""
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True)
class Holder:
    """For whom."""

    ocpp_tag_pk: int = BLACKOUT_TAG_PK
    id_tag: str = BLACKOUT_ID_TAG
    user_id: UUID | None = None
    lago_subscription_external_id: str | None = None


class ReservationRepository(Repository[Reservation]):
    """Every query on reservations."""

    model = Reservation

    def readable_by(self, principal: Principal) -> Select[Reservation]:
        """The reservations that ``principal`` may see, in no order."""
        match principal:
            case Operator():
                return select(Reservation)
            case Driver(user_id=user_id) | Device(owner_user_id=user_id):
                return select(Reservation).where(Reservation.user_id == user_id)

    async def create(self, window: Window, holder: Holder, *, by: UUID | None) -> Reservation:
        """Book a window; two that ask for it at the same moment do not both get it.

        Raises:
            WindowInvalid, ChargerNotFound, ReservationConflict: nothing was booked.
        """
        await self._check(window)
        charge_box_id = await existing_charge_box(self.uow, window.charge_box_id)
        reservation = Reservation(
            charge_box_id=charge_box_id,
            connector_id=window.connector_id,
            start_at=window.start_at,
            end_at=window.end_at,
            ocpp_tag_pk=holder.ocpp_tag_pk,
            id_tag=holder.id_tag,
            user_id=holder.user_id,
            lago_subscription_external_id=holder.lago_subscription_external_id,
            created_by=by,
        )
        await self._write(reservation, window)
        self.uow.emit(changed(reservation))
        return reservation

    async def reschedule(self, reservation_id: int, start_at: datetime, end_at: datetime) -> Reservation:
        """Move a reservation that has not begun; what the charger holds of it follows.

        Raises:
            ReservationNotFound, ReservationClosed, WindowInvalid, ReservationConflict: nothing has changed.
        """
        reservation = await self.locked(reservation_id)
        if reservation.status not in (ReservationStatus.PENDING, ReservationStatus.CONFIRMED):
            raise ReservationClosed
        window = Window(reservation.charge_box_id, reservation.connector_id, start_at, end_at)
        await self._check(window)
        await self._write(reservation, window)
        self.uow.emit(changed(reservation))
        return reservation

    async def cancel(self, reservation_id: int, *, reason: str | None = None) -> Reservation:
        """Cancel a reservation that has not begun; the charger is told by the upkeep. Safe to repeat.

        Raises:
            ReservationNotFound, ReservationClosed: nothing has changed.
        """
        reservation = await self.locked(reservation_id)
        if reservation.status == ReservationStatus.CANCELLED:
            return reservation
        blackout = reservation.ocpp_tag_pk == BLACKOUT_TAG_PK
        cancellable = BLOCKING if blackout else (ReservationStatus.PENDING, ReservationStatus.CONFIRMED)
        if reservation.status not in cancellable:
            raise ReservationClosed
        reservation.status, reservation.reason = ReservationStatus.CANCELLED, reason
        reservation.cancelled_at = (await self.uow.execute(select(func.now()))).scalar_one()
        reservation.next_attempt_at = None
        self.uow.emit(changed(reservation))
        return reservation

    async def cancel_upcoming(self, user_id: UUID, *, reason: str) -> int:
        """Cancel everything that a driver has not begun, as when the last card is taken away; how many there were."""
        query = select(Reservation.id).where(
            Reservation.user_id == user_id,
            Reservation.status.in_((ReservationStatus.PENDING, ReservationStatus.CONFIRMED)),
            Reservation.end_at > func.now(),
        )
        ids = list((await self.uow.session.execute(query.order_by(Reservation.id))).scalars())
        for reservation_id in ids:
            await self.cancel(reservation_id, reason=reason)
        return len(ids)

    async def overlapping(self, window: Window, *, apart_from: int | None = None) -> list[Reservation]:
        """What keeps a window from being booked, by start."""
        same = or_(Reservation.connector_id == window.connector_id, Reservation.connector_id == 0)
        query = select(Reservation).where(
            func.lower(Reservation.charge_box_id) == window.charge_box_id.lower(),
            same if window.connector_id else Reservation.connector_id >= 0,
            Reservation.status.in_(BLOCKING),
            Reservation.start_at < window.end_at,
            Reservation.end_at > window.start_at,
        )
        if apart_from is not None:
            query = query.where(Reservation.id != apart_from)
        return await self.all(query.order_by(Reservation.start_at, Reservation.id))

    async def locked(self, reservation_id: int) -> Reservation:
        """One reservation, locked.

        Raises:
            ReservationNotFound: there is none.
        """
        query = select(Reservation).where(Reservation.id == reservation_id).with_for_update()
        reservation = await self.one_or_none(query.execution_options(populate_existing=True))
        if reservation is None:
            raise ReservationNotFound
        return reservation

    async def _check(self, window: Window) -> None:
        now: datetime = (await self.uow.execute(select(func.now()))).scalar_one()
        in_order = now - PAST_GRACE <= window.start_at < window.end_at
        if not in_order or window.end_at - window.start_at > LONGEST or window.connector_id < 0:
            raise WindowInvalid

    async def _write(self, reservation: Reservation, window: Window) -> None:
        """The constraint decides; a refused write leaves the unit of work usable."""
        own_id = reservation.id
        try:
            async with self.uow.session.begin_nested():
                reservation.start_at, reservation.end_at = window.start_at, window.end_at
                self.uow.session.add(reservation)
                await self.uow.session.flush()
        except IntegrityError as refusal:
            if _OVERLAP not in str(refusal.orig):
                raise
            raise ReservationConflict(await self.overlapping(window, apart_from=own_id)) from None
        await self.uow.session.refresh(reservation)


def changed(reservation: Reservation) -> DomainEvent:
    """The event that says how a reservation stands now, for operators and its driver."""
    kind = ReservationCancelled if reservation.status == ReservationStatus.CANCELLED else ReservationChanged
    return kind(
        audience=Audience.operators_and(reservation.user_id),
        reservation_id=reservation.id,
        charge_box_id=reservation.charge_box_id,
        connector_id=reservation.connector_id,
        start_at_iso=to_wire(reservation.start_at),
        end_at_iso=to_wire(reservation.end_at),
        status=reservation.status,
        reason=reservation.reason,
    )
