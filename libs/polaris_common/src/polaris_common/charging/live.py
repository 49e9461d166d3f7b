"""What screens show of samples that have just been stored."""

from polaris_common.charging.meters import KnownSession
from polaris_common.charging.samples import MeterValues, power_w, register_wh
from polaris_common.telemetry import MeterTelemetry

LAST_SAMPLE = "Transaction.End"
"""OCPP 1.6 ReadingContext: taken at the end of the transaction."""


def telemetry_of(values: MeterValues, session: KnownSession | None) -> MeterTelemetry:
    """What screens show of ``values``; the session's energy only where its start is known and not after them."""
    register = next((wh for wh in map(register_wh, values.samples) if wh is not None), None)
    start = session.start_wh if session else None
    return MeterTelemetry(
        transaction_id=values.transaction_id,
        charge_box_id=values.charge_box_id,
        connector_id=values.connector_id,
        meter_timestamp=values.sampled_at,
        register_wh=register,
        power_w=power_w(values.samples),
        session_wh=_energy_since(start, register),
        session_id=session.id if session else None,
        user_mapping_id=session.tag_mapping_id if session else None,
        user_id=session.user_id if session else None,
        ended_at=values.sampled_at if any(sample.context == LAST_SAMPLE for sample in values.samples) else None,
    )


def _energy_since(start: int | None, register: int | None) -> int | None:
    return register - start if start is not None and register is not None and register >= start else None
