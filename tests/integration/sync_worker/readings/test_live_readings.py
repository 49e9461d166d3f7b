"""Readings of open sessions where no hook brings them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from tests.support.site import NOON
from tests.support.world import build_world
from tests.support.yard import Yard, build_yard

from polaris_common.db import Database
from polaris_common.jobs import Jobs
from polaris_common.settings import RedisSettings
from polaris_common.telemetry import CHANNEL
from polaris_sim.steve import Profile
from sync_worker.readings.service import LiveReadings

AT_ONCE = timedelta()
READABLE = [Profile.V3_12, Profile.V3_12_FORK, Profile.V3_13, Profile.HEAD]


@pytest.fixture(params=READABLE)
async def readable(
    request: pytest.FixtureRequest, database: Database, redis_settings: RedisSettings
) -> AsyncIterator[Yard]:
    """Every SteVe that shows readings."""
    async with build_yard(database, redis_settings, request.param) as built:
        yield built


async def _begin(yard: Yard, *, wh: int = 1_000) -> int:
    transaction = await yard.site.start(wh)
    await yard.site.runs.live_poll()
    return transaction


def _measure(yard: Yard, transaction: int, minutes: float, wh: int, power: int = 11_000) -> None:
    """The station reports to SteVe, and nobody tells us."""
    samples = [
        {"value": str(wh)},
        {"value": str(power), "measurand": "Power.Active.Import", "unit": "W"},
    ]
    yard.site.steve.meter_values(transaction, NOON + timedelta(minutes=minutes), samples)


def _details(yard: Yard) -> int:
    return sum(path.startswith("/transactions/") and "energyValuesOnly" in path for path in yard.site.requests.paths)


async def _registers(yard: Yard, transaction: int) -> list[int]:
    rows = await yard.site.rows(
        "SELECT register_wh FROM meter_readings WHERE steve_transaction_id = :id AND register_wh IS NOT NULL"
        " ORDER BY sampled_at",
        id=transaction,
    )
    return [row.register_wh for row in rows]


def _eager(yard: Yard, at_most: int = 20) -> LiveReadings:
    """Reads every open session whenever it is told to."""
    site = yard.site
    return LiveReadings(
        site.database, site.client, site.jobs, site.transactions.capabilities, silence=AT_ONCE, at_most=at_most
    )


async def test_without_hooks_an_open_sessions_readings_arrive_all_the_same(readable: Yard) -> None:
    transaction = await _begin(readable)
    _measure(readable, transaction, 5, 1_900)
    _measure(readable, transaction, 10, 2_800)
    await readable.readings.fetch()
    assert await _registers(readable, transaction) == [1_900, 2_800]
    live = await readable.site.row("SELECT * FROM live_meters")
    assert (live.register_wh, live.charge_box_id, live.sampled_at) == (2_800, "CP-1", NOON + timedelta(minutes=10))


async def test_the_same_readings_again_are_no_news_to_billing(yard: Yard) -> None:
    eager = _eager(yard)
    transaction = await _begin(yard)
    _measure(yard, transaction, 5, 1_900)
    await eager.fetch()
    before = await yard.site.row("SELECT revision, received_at FROM live_meters")
    await eager.fetch()
    assert await yard.site.row("SELECT revision, received_at FROM live_meters") == before
    _measure(yard, transaction, 10, 2_800)
    await eager.fetch()
    assert await _registers(yard, transaction) == [1_900, 2_800]
    assert _details(yard) == 3


async def test_a_sample_that_a_hook_brought_is_not_stored_again(yard: Yard) -> None:
    transaction = await _begin(yard)
    _measure(yard, transaction, 5, 1_900)
    await yard.site.read(transaction, (5, 1_900))
    await _eager(yard).fetch()
    assert await _registers(yard, transaction) == [1_900]


async def test_a_session_whose_hooks_work_is_not_read(yard: Yard) -> None:
    transaction = await _begin(yard)
    await yard.site.read(transaction, (5, 1_900))
    await yard.readings.fetch()
    assert _details(yard) == 0
    await yard.site.execute("UPDATE live_meters SET received_at = now() - interval '2 minutes'")
    await yard.readings.fetch()
    assert _details(yard) == 1


async def test_a_session_is_read_at_a_low_rate_and_not_with_every_look(yard: Yard) -> None:
    await _begin(yard)
    for _ in range(3):
        await yard.readings.fetch()
    assert _details(yard) == 1


async def test_one_look_reads_some_sessions_and_the_next_the_others(yard: Yard) -> None:
    started = [await yard.site.start(box=f"CP-{number}") for number in range(1, 6)]
    await yard.site.runs.live_poll()
    for transaction in started:
        _measure(yard, transaction, 5, 1_900)
    few = _eager(yard, at_most=2)
    read = []
    for _ in range(3):
        await few.fetch()
        read.append(len(await yard.site.rows("SELECT steve_transaction_id FROM live_meters")))
    assert read == [2, 4, 5]


async def test_a_session_that_has_ended_is_not_read(yard: Yard) -> None:
    transaction = await _begin(yard)
    yard.site.stop(transaction, 5_000)
    await yard.site.runs.live_poll()
    await yard.readings.fetch()
    assert _details(yard) == 0


@pytest.mark.parametrize("profile", [Profile.V3_8, Profile.V3_11])
async def test_a_steve_that_shows_no_readings_is_not_asked(
    database: Database, redis_settings: RedisSettings, profile: Profile
) -> None:
    async with build_yard(database, redis_settings, profile) as yard:
        await _begin(yard)
        await yard.readings.fetch()
        assert _details(yard) == 0


async def test_one_transaction_that_nobody_can_keep_hides_no_other(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_yard(database, redis_settings, Profile.V3_13) as yard:
        broken, good = await yard.site.start(box="CP-1"), await yard.site.start(box="CP-2")
        await yard.site.runs.live_poll()
        yard.site.steve.meter_values(broken, NOON, [{"value": "no text of\x00any database", "measurand": "SoC"}])
        _measure(yard, good, 5, 1_900)
        await yard.readings.fetch()
        assert (await _registers(yard, good), _details(yard)) == ([1_900], 2)


async def test_an_outage_of_steve_changes_nothing_and_the_next_look_goes_on(yard: Yard) -> None:
    transaction = await _begin(yard)
    _measure(yard, transaction, 5, 1_900)
    eager = _eager(yard)
    yard.site.requests.before = _dies
    await eager.fetch()
    assert await _registers(yard, transaction) == []
    yard.site.requests.before = None
    await eager.fetch()
    assert await _registers(yard, transaction) == [1_900]


async def _dies(path: str) -> None:
    raise httpx.ConnectError("refused")


async def test_screens_see_what_was_read(yard: Yard) -> None:
    transaction = await _begin(yard)
    _measure(yard, transaction, 5, 1_900)
    async with yard.site.jobs.redis.pubsub() as listener:
        await listener.subscribe(CHANNEL)
        await yard.readings.fetch()
        while (message := await asyncio.wait_for(listener.get_message(timeout=5), 10)) is not None:
            if message["type"] == "message":
                break
    assert message is not None
    shown = json.loads(message["data"])
    assert (shown["transactionId"], shown["registerWh"], shown["sessionWh"]) == (transaction, 1_900, 900)


async def test_energy_is_sold_while_the_car_charges_although_no_hook_ever_came(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_world(database, redis_settings, profile=Profile.V3_13) as world:
        driver = await world.driver()
        transaction = await world.start(driver.card, wh=1_000)
        await world.settle()
        world.steve.meter_values(transaction, NOON + timedelta(minutes=20), [{"value": "7000"}])
        sync = world.transactions
        async with _jobs(redis_settings) as jobs:
            await LiveReadings(database, sync.steve, jobs, sync.capabilities).fetch()
        await world.settle()
        assert world.billed_wh(driver.subscription) == 6_000


@asynccontextmanager
async def _jobs(redis_settings: RedisSettings) -> AsyncIterator[Jobs]:
    jobs = Jobs(redis_settings)
    yield jobs
    await jobs.close()


async def test_a_transaction_that_steve_has_deleted_meanwhile_has_no_readings_and_hides_no_other(yard: Yard) -> None:
    gone = await _begin(yard)
    kept = await yard.site.start(box="CP-2")
    await yard.site.runs.live_poll()
    _measure(yard, kept, 5, 1_900)
    yard.site.steve.delete_charge_box("CP-1")

    assert await yard.readings.fetch()

    assert (await _registers(yard, gone), await _registers(yard, kept)) == ([], [1_900])
