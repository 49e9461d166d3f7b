"""What streams read from the database besides the event log."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, literal, select

from polaris_common.db import UnitOfWork
from polaris_common.models import AuthSession, ChargingSession, LiveMeter, SessionState, User
from polaris_common.telemetry import MeterTelemetry

_UUIDS = ARRAY(Uuid())


class StreamRepository:
    """Queries of the streams."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def live_roles(self, session_ids: Iterable[UUID]) -> dict[UUID, str]:
        """Of these sign-in sessions the ones that still stand, with their owner's role; by the database's clock."""
        query = (
            select(AuthSession.id, User.role)
            .join(User, User.id == AuthSession.user_id)
            .where(AuthSession.id == any_(literal(list(session_ids), _UUIDS)), AuthSession.expires_at > func.now())
        )
        return {row.id: row.role for row in await self._uow.execute(query)}

    async def live_meters_of(self, user_id: UUID) -> list[MeterTelemetry]:
        """The latest values of this driver's open charging sessions, oldest session first."""
        query = (
            select(LiveMeter, ChargingSession)
            .join(ChargingSession, ChargingSession.steve_transaction_id == LiveMeter.steve_transaction_id)
            .where(ChargingSession.user_id == user_id, ChargingSession.state == SessionState.OPEN)
            .order_by(ChargingSession.id)
        )
        return [_telemetry(row.LiveMeter, row.ChargingSession) for row in await self._uow.execute(query)]


def _telemetry(meter: LiveMeter, session: ChargingSession) -> MeterTelemetry:
    return MeterTelemetry(
        transaction_id=session.steve_transaction_id,
        charge_box_id=session.charge_box_id,
        connector_id=session.connector_id,
        meter_timestamp=meter.sampled_at,
        register_wh=meter.register_wh,
        power_w=meter.power_w,
        session_wh=_since_start(session.start_wh, meter.register_wh),
        session_id=session.id,
        user_mapping_id=session.tag_mapping_id,
        user_id=session.user_id,
    )


def _since_start(start_wh: int | None, register_wh: int | None) -> int | None:
    if start_wh is None or register_wh is None or register_wh < start_wh:
        return None
    return register_wh - start_wh
