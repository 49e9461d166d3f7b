"""Meter readings and the latest reading of each transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from polaris_common.charging.samples import MeterValues, Sample, power_w, register_wh
from polaris_common.db import UnitOfWork

# One statement, so one round trip and, outside of a transaction, one commit. What was stored before changes nothing: it
# neither moves the live meter nor makes billing look again. The newest sample wins on the screen, whatever comes when.
# Rows are written in one order everywhere, or two gateways with the same samples could wait for each other.
_STORE = text("""
WITH stored AS (
    INSERT INTO meter_readings
        (steve_transaction_id, sampled_at, measurand, phase, location, context, unit, value, register_wh)
    SELECT * FROM unnest(
        CAST(:transactions AS bigint[]), CAST(:times AS timestamptz[]), CAST(:measurands AS text[]),
        CAST(:phases AS text[]), CAST(:locations AS text[]), CAST(:contexts AS text[]),
        CAST(:units AS text[]), CAST(:values AS text[]),
        CAST(:registers AS bigint[]))
    ON CONFLICT DO NOTHING
    RETURNING steve_transaction_id
), moved AS (
    INSERT INTO live_meters AS live
        (steve_transaction_id, charge_box_id, connector_id, sampled_at, register_wh, power_w)
    SELECT * FROM unnest(
        CAST(:live_transactions AS bigint[]), CAST(:live_boxes AS text[]), CAST(:live_connectors AS int[]),
        CAST(:live_times AS timestamptz[]), CAST(:live_registers AS bigint[]), CAST(:live_powers AS int[])
        ) AS latest (transaction_id, charge_box_id, connector_id, sampled_at, register_wh, power_w)
    WHERE transaction_id IN (SELECT steve_transaction_id FROM stored)
    ORDER BY transaction_id
    ON CONFLICT (steve_transaction_id) DO UPDATE SET
        sampled_at = greatest(live.sampled_at, excluded.sampled_at),
        register_wh = CASE WHEN excluded.sampled_at >= live.sampled_at
                           THEN coalesce(excluded.register_wh, live.register_wh) ELSE live.register_wh END,
        power_w = CASE WHEN excluded.sampled_at >= live.sampled_at
                       THEN coalesce(excluded.power_w, live.power_w) ELSE live.power_w END,
        received_at = now(),
        revision = live.revision + 1
    RETURNING live.steve_transaction_id, live.sampled_at
)
SELECT moved.steve_transaction_id, moved.sampled_at, s.id, s.user_id, s.tag_mapping_id, s.start_wh
FROM moved LEFT JOIN charging_sessions AS s ON s.steve_transaction_id = moved.steve_transaction_id
""")


@dataclass(frozen=True)
class KnownSession:
    """The session behind a transaction, as far as telemetry needs it."""

    id: int
    user_id: UUID | None
    tag_mapping_id: int | None
    start_wh: int | None


@dataclass(frozen=True)
class MovedMeter:
    """A transaction that has samples which were not stored before."""

    newest_at: datetime
    """Of all its samples."""
    session: KnownSession | None
    """None: SteVe has a transaction that we do not know yet."""


@dataclass(frozen=True)
class Reading:
    """A point of a session's register."""

    sampled_at: datetime
    wh: int


class MeterRepository:
    """Every query on readings and live meters."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def store(self, arrived: Sequence[MeterValues]) -> dict[int, MovedMeter]:
        """Store samples, once however often they arrive, and move the live meters; what has moved, by transaction."""
        rows = [(values, sample) for values in arrived for sample in values.samples]
        if not rows:
            return {}
        stored = await self._uow.execute(
            _STORE,
            {
                "transactions": [values.transaction_id for values, _ in rows],
                "times": [values.sampled_at for values, _ in rows],
                "measurands": [sample.measurand for _, sample in rows],
                "phases": [sample.phase for _, sample in rows],
                "locations": [sample.location for _, sample in rows],
                "contexts": [sample.context for _, sample in rows],
                "units": [sample.unit for _, sample in rows],
                "values": [sample.value for _, sample in rows],
                "registers": [register_wh(sample) for _, sample in rows],
                **_live_parameters(arrived),
            },
        )
        return {row.steve_transaction_id: MovedMeter(row.sampled_at, _session(row)) for row in stored.all()}

    async def unknown_of(self, values: Sequence[MeterValues]) -> list[MeterValues]:
        """What of one transaction's samples is not stored yet; elements of which nothing is left are dropped."""
        if not values:
            return []
        rows = await self._uow.execute(
            text(
                "SELECT sampled_at, measurand, phase, location, context, unit FROM meter_readings "
                "WHERE steve_transaction_id = :id AND sampled_at >= :since"
            ),
            {"id": values[0].transaction_id, "since": min(each.sampled_at for each in values)},
        )
        known = {tuple(row) for row in rows}
        left = [
            replace(each, samples=tuple(one for one in each.samples if _key(each, one) not in known)) for each in values
        ]
        return [each for each in left if each.samples]

    async def registers(self, transaction_ids: Sequence[int]) -> dict[int, list[Reading]]:
        """Each transaction's readable register values, in the order of the station's clock."""
        rows = await self._uow.execute(
            text(
                "SELECT steve_transaction_id, sampled_at, register_wh FROM meter_readings "
                "WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[])) AND register_wh IS NOT NULL "
                "ORDER BY steve_transaction_id, sampled_at, register_wh"
            ),
            {"ids": list(transaction_ids)},
        )
        readings: dict[int, list[Reading]] = {}
        for row in rows:
            readings.setdefault(row.steve_transaction_id, []).append(Reading(row.sampled_at, row.register_wh))
        return readings

    async def revisions(self, transaction_ids: Sequence[int]) -> dict[int, int]:
        """The live meters' revisions, to be read before the readings they stand for."""
        rows = await self._uow.execute(
            text(
                "SELECT steve_transaction_id, revision FROM live_meters "
                "WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[]))"
            ),
            {"ids": list(transaction_ids)},
        )
        return {row.steve_transaction_id: row.revision for row in rows}

    async def mark_billed(self, revisions: Mapping[int, int]) -> None:
        """Billing has looked at these live meters (SteVe id → revision)."""
        if revisions:
            await self._uow.execute(
                text(
                    "UPDATE live_meters AS m SET billed_revision = v.revision "
                    "FROM unnest(CAST(:ids AS bigint[]), CAST(:revisions AS bigint[])) AS v(id, revision) "
                    "WHERE m.steve_transaction_id = v.id AND m.billed_revision < v.revision"
                ),
                {"ids": list(revisions), "revisions": list(revisions.values())},
            )


def _session(row: Any) -> KnownSession | None:
    return None if row.id is None else KnownSession(row.id, row.user_id, row.tag_mapping_id, row.start_wh)


def _key(values: MeterValues, sample: Sample) -> tuple[Any, ...]:
    return (values.sampled_at, sample.measurand, sample.phase, sample.location, sample.context, sample.unit)


def _live_parameters(arrived: Sequence[MeterValues]) -> dict[str, list[Any]]:
    latest: dict[int, MeterValues] = {}
    for values in arrived:
        known = latest.get(values.transaction_id)
        if known is None or values.sampled_at >= known.sampled_at:
            latest[values.transaction_id] = values
    ordered = sorted(latest.values(), key=lambda values: values.transaction_id)
    return {
        "live_transactions": [values.transaction_id for values in ordered],
        "live_boxes": [values.charge_box_id for values in ordered],
        "live_connectors": [values.connector_id for values in ordered],
        "live_times": [values.sampled_at for values in ordered],
        "live_registers": [_first_register(values) for values in ordered],
        "live_powers": [power_w(values.samples) for values in ordered],
    }


def _first_register(values: MeterValues) -> int | None:
    return next((wh for wh in map(register_wh, values.samples) if wh is not None), None)
