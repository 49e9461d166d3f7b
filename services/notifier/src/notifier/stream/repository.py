"""What streams read from the database besides the event log."""

from uuid import UUID

from sqlalchemy import exists, select

from polaris_common.db import UnitOfWork
from polaris_common.models import AppDevice, ChargingSession, LiveMeter, SessionState
from polaris_common.telemetry import MeterTelemetry

MAX_METERS = 2_000
"""Open sessions whose values an operator's screen begins with; the newest."""


class StreamRepository:
    """Queries of the streams."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def live_meters(self, user_id: UUID | None = None) -> list[MeterTelemetry]:
        """The latest values of a driver's open charging sessions, or of everybody's; oldest session first."""
        query = (
            select(LiveMeter, ChargingSession)
            .join(ChargingSession, ChargingSession.steve_transaction_id == LiveMeter.steve_transaction_id)
            .where(ChargingSession.state == SessionState.OPEN)
            .order_by(ChargingSession.id.desc())
            .limit(MAX_METERS)
        )
        if user_id is not None:
            query = query.where(ChargingSession.user_id == user_id)
        rows = (await self._uow.execute(query)).all()
        return [_telemetry(row.LiveMeter, row.ChargingSession) for row in reversed(rows)]

    async def device_exists(self, device_id: UUID) -> bool:
        """Whether there is such a device, and not removed."""
        there = exists().where(AppDevice.id == device_id, AppDevice.deleted_at.is_(None))
        return bool(await self._uow.session.scalar(select(there)))


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
