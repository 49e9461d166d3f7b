"""What a car draws: the latest values at the start, live ones after, only for its driver."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.integration.notifier.conftest import Replica, StreamWorld, started, until
from tests.integration.notifier.stream_client import StreamClient

from polaris_common.telemetry import CHANNEL, MeterTelemetry, publish


def measured(user_id: UUID | None, transaction_id: int, **changes: Any) -> MeterTelemetry:
    """One measurement."""
    values = {"charge_box_id": "CP-1", "connector_id": 1, "meter_timestamp": datetime(2025, 3, 1, 12, tzinfo=UTC)}
    return MeterTelemetry(transaction_id=transaction_id, user_id=user_id, **(values | changes))


async def listens(world: StreamWorld, replicas: int = 1) -> None:
    """Wait until every notifier hears telemetry."""
    async with world.redis() as redis:
        while dict(await redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()] < replicas:
            pass


async def test_a_driver_first_gets_the_latest_values_of_their_open_sessions(world: StreamWorld) -> None:
    replica, driver, stranger = await world.notifier(), await world.person(), await world.person()
    session = await world.charge(driver.user.id, start_wh=10_000, register_wh=12_005, power_w=11_040)
    await world.charge(stranger.user.id, start_wh=0, register_wh=1, power_w=1)
    await world.charge(None, start_wh=0, register_wh=1, power_w=1)
    over = await world.charge(driver.user.id, start_wh=0, register_wh=1, power_w=1)
    await world.execute(
        "UPDATE charging_sessions SET state = 'settled', stop_wh = 1, stopped_at = now() WHERE id = :id", id=over.id
    )

    async with StreamClient(replica.port, driver.token) as stream:
        first = await stream.next()
        await world.emit(started(driver.audience, 1))
        second = await stream.next()

    assert (first.event, first.id) == ("transaction.meter", None)
    assert '"kwh":12.005,' in first.text
    assert '"powerKw":11.040,' in first.text
    assert first.data == {
        "transactionId": session.steve_transaction_id,
        "chargeBoxId": "CP-1",
        "connectorId": 2,
        "meterTimestamp": "2025-03-01T12:30:00.000Z",
        "kwh": 12.005,
        "powerKw": 11.04,
        "sessionId": session.id,
        "registerWh": 12_005,
        "sessionWh": 2_005,
        "sessionKwh": "2.005",
    }
    assert second.event == "session.started"


async def test_a_reconnecting_driver_gets_the_latest_values_too(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.charge(driver.user.id, start_wh=0, register_wh=500, power_w=1)
    await world.emit(started(driver.audience, 1), started(driver.audience, 2))
    await until(lambda: replica.notifier.hub.last_seq == 2)

    async with StreamClient(replica.port, driver.token, last_event_id="1") as stream:
        assert [(await stream.next()).event for _ in range(2)] == ["transaction.meter", "session.started"]


async def _publish(world: StreamWorld, *telemetry: MeterTelemetry) -> None:
    async with world.redis() as redis:
        await publish(redis, list(telemetry))


async def test_live_values_reach_their_driver_and_nobody_else(world: StreamWorld) -> None:
    replica, driver, stranger = await world.notifier(), await world.person(), await world.person()
    await listens(world)
    async with StreamClient(replica.port, driver.token) as mine, StreamClient(replica.port, stranger.token) as theirs:
        await _publish(
            world,
            measured(None, 1, register_wh=1),
            measured(stranger.user.id, 2, register_wh=2),
            measured(driver.user.id, 3, register_wh=7, session_wh=5, power_w=-5, session_id=9, user_mapping_id=4),
        )
        event = await mine.next()
        assert (await theirs.next()).data["transactionId"] == 2
        await world.emit(started(stranger.audience, 1))
        assert (await theirs.next()).event == "session.started"

    assert (event.event, event.id) == ("transaction.meter", None)
    assert event.data == {
        "transactionId": 3,
        "chargeBoxId": "CP-1",
        "connectorId": 1,
        "meterTimestamp": "2025-03-01T12:00:00.000Z",
        "kwh": 0.007,
        "powerKw": -0.005,
        "sessionId": 9,
        "userMappingId": 4,
        "registerWh": 7,
        "sessionWh": 5,
        "sessionKwh": "0.005",
    }


async def test_values_that_are_not_known_are_left_out(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await listens(world)
    async with StreamClient(replica.port, driver.token) as stream:
        await _publish(world, measured(driver.user.id, 3))
        event = await stream.next()

    assert event.data.keys() == {"transactionId", "chargeBoxId", "connectorId", "meterTimestamp"}


async def test_an_unreadable_message_does_no_harm(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await listens(world)
    async with StreamClient(replica.port, driver.token) as stream:
        async with world.redis() as redis:
            await redis.publish(CHANNEL, b"\xff{")
            await redis.publish(CHANNEL, b"[]")
        await _publish(world, measured(driver.user.id, 3))
        assert (await stream.next()).data["transactionId"] == 3


async def test_telemetry_reaches_the_driver_on_every_replica(world: StreamWorld) -> None:
    replicas: list[Replica] = [await world.notifier(), await world.notifier()]
    driver = await world.person()
    await listens(world, replicas=2)
    async with (
        StreamClient(replicas[0].port, driver.token) as one,
        StreamClient(replicas[1].port, driver.token) as other,
    ):
        await _publish(world, measured(driver.user.id, 3))
        assert (await one.next()).text == (await other.next()).text
