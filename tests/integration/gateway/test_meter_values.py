"""The hook that brings samples: an answer 200 means they are durable."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.gateway import GatewayWorld, meter_values

from gateway.ocpp.announcer import Announcer
from gateway.ocpp.intake import MeterIntake
from gateway.ocpp.schemas import parse_meter_values
from gateway.settings import GatewaySettings
from polaris_common.charging.meters import MeterRepository, MovedMeter
from polaris_common.charging.samples import MeterValues
from polaris_common.db import Database
from polaris_common.http.errors import ServiceUnavailable
from polaris_common.jobs import Jobs, Queue
from polaris_common.jobs.queue import STOP_LOOKS_AFTER_SECONDS
from polaris_common.telemetry import CHANNEL, MeterTelemetry


async def _readings(database: Database) -> list[tuple[int, str, int | None]]:
    async with database.unit_of_work() as uow:
        query = text("SELECT steve_transaction_id, value, register_wh FROM meter_readings ORDER BY 1, sampled_at, 2")
        return [tuple(row) for row in await uow.execute(query)]


def _values(transaction: int, wh: str = "1500", **changes: Any) -> MeterValues:
    return parse_meter_values(json.dumps(meter_values(transaction, wh, **changes)).encode())


@asynccontextmanager
async def _intake(settings: GatewaySettings, database: Database, **limits: int) -> AsyncIterator[MeterIntake]:
    jobs = Jobs(settings)
    intake = MeterIntake(database, Announcer(jobs, database), **limits)
    intake.start()
    yield intake
    await intake.stop()
    await jobs.close()


@asynccontextmanager
async def _meters_locked(database: Database) -> AsyncIterator[None]:
    connection = await database.connect_raw()
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE live_meters IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_samples_are_stored_with_their_register(world: GatewayWorld) -> None:
    samples = [{"value": "1.5", "unit": "kWh"}, {"value": "7400", "measurand": "Power.Active.Import", "unit": "W"}]

    response = await world.hook("meter-values", meter_values(samples=samples))

    assert (response.status_code, response.content) == (200, b'{"ok":true}')
    assert await _readings(world.database) == [(7, "1.5", 1500), (7, "7400", None)]


async def test_an_answer_waits_until_the_sample_is_durable(world: GatewayWorld) -> None:
    async with _meters_locked(world.database):
        asked = asyncio.create_task(world.hook("meter-values", meter_values()))
        await asyncio.sleep(0.3)
        assert not asked.done()

    assert (await asked).status_code == 200
    assert await _readings(world.database) == [(7, "1500", 1500)]


async def test_a_killed_intake_acknowledges_nothing_and_stores_nothing(world: GatewayWorld) -> None:
    intake = world.app.state.resources.intake
    async with _meters_locked(world.database):
        asked = [asyncio.create_task(world.hook("meter-values", meter_values(number))) for number in range(1, 4)]
        await asyncio.sleep(0.3)
        await intake._background.cancel()
        answers = await asyncio.gather(*asked)

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(503, "unavailable")] * 3
    assert await _readings(world.database) == []
    assert (await world.hook("meter-values", meter_values())).status_code == 503


async def test_a_lost_connection_acknowledges_nothing_and_the_next_sample_is_stored(world: GatewayWorld) -> None:
    async with _meters_locked(world.database):
        asked = asyncio.create_task(world.hook("meter-values", meter_values()))
        await asyncio.sleep(0.3)
        async with world.database.unit_of_work() as uow:
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway'"
            await uow.execute(text(kill))
        assert (await asked).status_code == 503

    assert (await world.hook("meter-values", meter_values(8))).status_code == 200
    assert await _readings(world.database) == [(8, "1500", 1500)]


async def test_the_same_sample_delivered_twice_is_stored_once(world: GatewayWorld) -> None:
    answers = await asyncio.gather(*(world.hook("meter-values", meter_values()) for _ in range(5)))
    answers.append(await world.hook("meter-values", meter_values()))

    assert {answer.status_code for answer in answers} == {200}
    assert await _readings(world.database) == [(7, "1500", 1500)]


async def _revisions(database: Database) -> dict[int, int]:
    async with database.unit_of_work() as uow:
        rows = await uow.execute(text("SELECT steve_transaction_id, revision FROM live_meters"))
        return {row.steve_transaction_id: row.revision for row in rows}


async def test_a_sample_that_is_delivered_again_is_shown_to_nobody_and_bills_nothing(world: GatewayWorld) -> None:
    early, late = meter_values(timestamp="2026-03-01T12:05:00Z"), meter_values(timestamp="2026-03-01T12:06:00Z", wh="9")
    await world.hook("meter-values", early)
    await world.hook("meter-values", late)
    announcer = world.app.state.resources.announcer
    await announcer.stop()
    redis = world.app.state.resources.jobs.redis
    await redis.delete(Queue.BILLING_BRIDGE, Queue.SYNC_WORKER)

    for again in (early, late, early):
        assert (await world.hook("meter-values", again)).status_code == 200

    assert await _revisions(world.database) == {7: 2}
    await announcer.stop()
    assert await redis.zcard(Queue.BILLING_BRIDGE) == await redis.zcard(Queue.SYNC_WORKER) == 0


async def test_a_sample_that_comes_late_is_billed_but_does_not_turn_screens_back(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[datetime] = []

    def stored(self: Announcer, telemetry: Iterable[MeterTelemetry], **_: bool) -> None:
        shown.extend(each.meter_timestamp for each in telemetry)

    monkeypatch.setattr(Announcer, "stored", stored)
    for minute in (5, 7, 6, 8):
        await world.hook("meter-values", meter_values(timestamp=f"2026-03-01T12:0{minute}:00Z", wh=str(minute)))

    assert [moment.minute for moment in shown] == [5, 7, 8]
    assert await _revisions(world.database) == {7: 4}
    assert [row[2] for row in await _readings(world.database)] == [5, 6, 7, 8]


async def test_a_batch_that_is_partly_known_stores_and_shows_what_is_new(
    settings: GatewaySettings, database: Database
) -> None:
    async with _intake(settings, database) as intake:
        await intake.add(_values(1))
        await asyncio.gather(*(intake.add(_values(number)) for number in (1, 2, 3)))

    assert await _revisions(database) == {1: 1, 2: 1, 3: 1}
    assert len(await _readings(database)) == 3


async def test_samples_that_arrive_together_share_a_transaction(
    settings: GatewaySettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    store = MeterRepository.store

    async def counted(self: MeterRepository, arrived: Sequence[MeterValues]) -> dict[int, MovedMeter]:
        batches.append(len(arrived))
        return await store(self, arrived)

    monkeypatch.setattr(MeterRepository, "store", counted)
    async with _intake(settings, database) as intake:
        await asyncio.gather(*(intake.add(_values(number)) for number in range(1, 1201)))

    assert batches == [500, 500, 200]
    assert len(await _readings(database)) == 1200


async def test_one_poisoned_item_does_not_fail_its_neighbours(settings: GatewaySettings, database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow.execute(text("ALTER TABLE meter_readings ADD CHECK (value <> 'poison')"))
    items = [_values(number, "poison" if number in (3, 17) else "1500") for number in range(1, 41)]

    async with _intake(settings, database) as intake:
        results = await asyncio.gather(*map(intake.add, items), return_exceptions=True)

    refused = [item.transaction_id for item, result in zip(items, results, strict=True) if result is not None]
    assert refused == [3, 17]
    assert all(isinstance(results[number - 1], ServiceUnavailable) for number in refused)
    assert [row[0] for row in await _readings(database)] == [n for n in range(1, 41) if n not in refused]


async def test_an_outage_is_not_tried_item_by_item(
    settings: GatewaySettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def refuse(self: MeterRepository, arrived: Sequence[MeterValues]) -> None:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError

    monkeypatch.setattr(MeterRepository, "store", refuse)
    async with _intake(settings, database) as intake:
        results = await asyncio.gather(*(intake.add(_values(n)) for n in range(1, 101)), return_exceptions=True)

    assert all(isinstance(result, ServiceUnavailable) for result in results)
    assert tries == 1


async def test_a_log_that_cannot_be_written_does_not_end_the_intake(
    settings: GatewaySettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("I/O operation on closed file")

    async with database.unit_of_work() as uow:
        await uow.execute(text("ALTER TABLE meter_readings ADD CHECK (value <> 'poison')"))
    monkeypatch.setattr("gateway.ocpp.intake.log", SimpleNamespace(error=broken, exception=broken))

    async with _intake(settings, database) as intake:
        with pytest.raises(ServiceUnavailable):
            await intake.add(_values(1, "poison"))
        await asyncio.wait_for(intake.add(_values(2)), 5)

    assert [row[0] for row in await _readings(database)] == [2]


async def test_a_full_queue_refuses_at_once(settings: GatewaySettings, database: Database) -> None:
    async with _intake(settings, database, capacity=10, batch=5) as intake:
        async with _meters_locked(database):
            first = [asyncio.create_task(intake.add(_values(number))) for number in range(1, 6)]
            await asyncio.sleep(0.2)
            waiting = [asyncio.create_task(intake.add(_values(number))) for number in range(6, 16)]
            await asyncio.sleep(0)
            with pytest.raises(ServiceUnavailable):
                await intake.add(_values(99))
        await asyncio.gather(*first, *waiting)

    assert len(await _readings(database)) == 15


async def test_stopping_stores_what_waits_and_takes_no_more(settings: GatewaySettings, database: Database) -> None:
    async with _intake(settings, database, batch=5) as intake:
        waiting = [asyncio.create_task(intake.add(_values(number))) for number in range(1, 21)]
        await asyncio.sleep(0)
        await intake.stop()
        await asyncio.gather(*waiting)
        with pytest.raises(ServiceUnavailable):
            await intake.add(_values(99))

    assert len(await _readings(database)) == 20


async def test_screens_get_the_energy_since_the_start_and_billing_is_woken(world: GatewayWorld) -> None:
    user_id = await world.user()
    session_id = await world.session(user_id, 7)
    redis = world.app.state.resources.jobs.redis
    async with redis.pubsub() as heard:
        await heard.subscribe(CHANNEL)
        await heard.get_message(timeout=1)
        samples = [{"value": "1850"}, {"value": "7.4", "measurand": "Power.Active.Import", "unit": "kW"}]
        await world.hook("meter-values", meter_values(samples=samples))
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)

    assert json.loads(message["data"]) == {
        "transactionId": 7,
        "chargeBoxId": "CP-1",
        "connectorId": 1,
        "meterTimestamp": "2026-03-01T12:05:00Z",
        "registerWh": 1850,
        "powerW": 7400,
        "sessionWh": 850,
        "sessionId": session_id,
        "userId": str(user_id),
    }
    assert await redis.zcard(Queue.BILLING_BRIDGE) == 1
    assert await redis.zcard(Queue.SYNC_WORKER) == 0


async def test_a_register_below_the_start_is_no_energy(world: GatewayWorld) -> None:
    await world.session(await world.user(), 7, start_wh=5000)
    async with world.app.state.resources.jobs.redis.pubsub() as heard:
        await heard.subscribe(CHANNEL)
        await heard.get_message(timeout=1)
        await world.hook("meter-values", meter_values(wh="1500"))
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)

    assert "sessionWh" not in json.loads(message["data"])


async def test_a_transaction_that_nobody_knows_makes_the_sync_worker_look(world: GatewayWorld) -> None:
    await world.hook("meter-values", meter_values())
    redis = world.app.state.resources.jobs.redis

    for _ in range(100):
        if await redis.zcard(Queue.SYNC_WORKER):
            break
        await asyncio.sleep(0.02)

    assert await redis.zcard(Queue.SYNC_WORKER) == 1


async def test_the_last_samples_of_a_transaction_make_the_sync_worker_look_for_its_stop_several_times(
    world: GatewayWorld,
) -> None:
    await world.session(await world.user(), 7)
    redis = world.app.state.resources.jobs.redis
    values = meter_values(7)
    await world.hook("meter-values", values)
    await world.hook("meter-values", {**values, "samples": [{**values["samples"][0], "context": "Transaction.End"}]})

    for _ in range(100):
        if await redis.zcard(Queue.SYNC_WORKER) == len(STOP_LOOKS_AFTER_SECONDS):
            break
        await asyncio.sleep(0.02)

    assert await redis.zcard(Queue.SYNC_WORKER) == len(STOP_LOOKS_AFTER_SECONDS)


async def test_a_lost_redis_loses_no_sample(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(world.app.state.resources.jobs, "bill_due", hang)

    for number in (1, 2, 3):
        assert (await world.hook("meter-values", meter_values(number))).status_code == 200
    assert len(await _readings(world.database)) == 3


@pytest.mark.parametrize("changes", [{"chargeBoxId": "CP\x00"}, {"transactionPk": 2**63}, {"samples": []}])
async def test_what_postgres_cannot_hold_is_refused_before_it_meets_others(
    world: GatewayWorld, changes: dict[str, Any]
) -> None:
    response = await world.hook("meter-values", meter_values(**changes))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_body")


@pytest.mark.parametrize(
    "changes",
    [
        {"transactionPk": 2**63 - 1, "connectorId": 2**31 - 1, "chargeBoxId": "é" * 255},
        {"timestamp": "1970-01-01T00:00:00Z"},
        {"timestamp": "2199-12-31T23:59:59.999999Z"},
        {"samples": [dict.fromkeys(("measurand", "unit", "context", "phase", "location"), "😀" * 64) | {"value": "1"}]},
        {"samples": [{"value": "x" * 60_000}]},
        {"samples": [{"value": "1e999999", "measurand": "Power.Active.Import"}]},
        {"samples": [{"value": ""}]},
    ],
)
async def test_whatever_is_accepted_can_be_stored(world: GatewayWorld, changes: dict[str, Any]) -> None:
    assert (await world.hook("meter-values", meter_values(**changes))).status_code == 200
    assert len(await _readings(world.database)) == 1
