"""Clocks, proxies and decisions that change in the middle: nothing is lost, billed twice or kept from operators."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from tests.support.world import NOON, World

from billing_bridge.ledger.repository import _DUE, LedgerRepository
from billing_bridge.watch.service import Watch, WatchPolicy
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.lago import LagoClient, LagoUnavailable
from polaris_common.models import TagMapping
from polaris_common.settings import LagoSettings


async def test_one_reading_of_the_next_century_does_not_put_a_session_on_that_centurys_invoice(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    glitch = MeterValues(transaction, "CP-1", 1, datetime(2099, 1, 1, tzinfo=UTC), (Sample("4000"),))
    async with world.database.unit_of_work() as uow:
        await MeterRepository(uow).store([glitch])
    await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()

    stamps = [json.loads(row.body)["timestamp"] for row in await world.rows("SELECT body FROM lago_events")]
    assert all(float(stamp) <= datetime.now(UTC).timestamp() for stamp in stamps)
    assert (await world.session(transaction)).billed_wh == 8_000


@pytest.mark.parametrize("answer", [{"status": "ok"}, {"events": []}, {"events": None}])
async def test_a_proxys_own_200_is_no_delivery(answer: dict[str, Any]) -> None:
    lago = LagoClient(
        LagoSettings(lago_api_url="http://lago.test", lago_api_key="lago-key"),
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json=answer)),
    )
    with pytest.raises(LagoUnavailable):
        await lago.send_events(['{"transaction_id":"a"}'])
    await lago.close()


async def test_energy_goes_back_to_whom_it_was_sold_although_the_card_is_comped_by_then(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (30, 9_000))
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000

    await world.execute("UPDATE tag_mappings SET billing_tier = 'comped'")
    world.stop(transaction, 7_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 6_000
    session = await world.session(transaction)
    assert session.billed_wh == 6_000


@pytest.mark.parametrize(
    "change", ["UPDATE lago_subscriptions SET status = 'terminated'", "UPDATE tag_mappings SET billing_tier = 'comped'"]
)
async def test_what_is_sold_completely_stays_billed_whoever_would_pay_by_now(world: World, change: str) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    await world.execute(change)
    await world.execute("UPDATE charging_sessions SET revision = revision + 1, vanished_at = now()")
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.billed_wh) == ("billed", 700)


async def test_a_session_that_cannot_be_written_is_seen_by_operators_and_stops_no_other(world: World) -> None:
    driver = await world.driver()
    bad, good = await world.charge(driver.card, 500), await world.charge(driver.card, 600)
    await world.runs.live_poll()
    await world.execute(
        "CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.transaction_id LIKE 'steve_tx_" + str(bad) + "_%' THEN RAISE EXCEPTION 'no' USING ERRCODE = '23514';"
        " END IF; RETURN NEW; END $$"
    )
    await world.execute(
        "CREATE TRIGGER refuse_one BEFORE INSERT ON lago_events FOR EACH ROW EXECUTE FUNCTION refuse_one()"
    )
    await world.ledger.bill_due()
    await world.deliver()
    assert (await world.session(good)).billing == "billed"
    assert (await world.session(bad)).billing is None

    await world.execute("UPDATE charging_sessions SET updated_at = now() - interval '1 hour'")
    await world.reconciliation.check()
    finding = await world.row("SELECT kind, difference_wh FROM reconciliation_findings")
    assert tuple(finding) == ("ledger_short", 500)

    await world.execute("DROP TRIGGER refuse_one ON lago_events")
    await world.ledger.bill_due()
    await world.reconciliation.check()
    assert (await world.session(bad)).billing == "billed"
    assert [row.resolved_at is None for row in await world.rows("SELECT * FROM reconciliation_findings")] == [False]


async def test_energy_that_lago_will_never_bill_because_the_subscription_had_ended_is_told(world: World) -> None:
    """Lago ends it while the car charges; until we hear of that, energy is stamped with a time after the end."""
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.lago.subscriptions.terminate(world.lago.organization.subscriptions[driver.subscription][-1])
    await world.read(transaction, (15, 4_000))
    await world.settle()
    await world.mirror.refresh()
    await world.reconciliation.check()
    finding = await world.row("SELECT kind, subject, difference_wh FROM reconciliation_findings")
    assert tuple(finding) == ("invoice_differs", f"subscription:{driver.subscription}:after-its-end", 3_000)


async def test_energy_that_waits_for_a_subscription_that_has_ended_is_told(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    world.lago.subscriptions.terminate(world.lago.organization.subscriptions[driver.subscription][-1])
    await world.mirror.refresh()
    await Watch(world.database, WatchPolicy()).look()
    alert = await world.row("SELECT kind, subject FROM billing_alerts")
    assert tuple(alert) == ("lago_period_closed_unsent", driver.subscription)


async def test_midnight_is_the_customers_although_the_card_names_only_a_subscription(world: World) -> None:
    driver = await world.driver(mapped=False)
    await world.execute("UPDATE lago_customers SET timezone = 'America/New_York'")
    async with world.database.unit_of_work() as uow:
        uow.session.add(TagMapping(id_tag=driver.card, lago_subscription_external_id=driver.subscription))
    transaction = await world.start(driver.card, at=datetime(2026, 3, 9, 3, tzinfo=UTC))
    world.steve.stop_transaction(transaction, 3_000, datetime(2026, 3, 9, 5, tzinfo=UTC))
    await world.settle()
    ends = [row.ended_at for row in await world.rows("SELECT ended_at FROM energy_slices ORDER BY from_wh")]
    assert ends == [datetime(2026, 3, 9, 4, tzinfo=UTC), datetime(2026, 3, 9, 5, tzinfo=UTC)]


async def test_what_is_due_is_found_by_indexes_however_many_sessions_there_are(world: World) -> None:
    await world.execute(
        "INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at,"
        " start_wh, stopped_at, stop_wh, state, billed_revision)"
        " SELECT n, 'CP-1', 1, 'TAG', now(), 0, now(), 1, 'settled', 1 FROM generate_series(1, 3000) AS n"
    )
    await world.execute(
        "INSERT INTO live_meters (steve_transaction_id, charge_box_id, connector_id, sampled_at, billed_revision)"
        " SELECT n, 'CP-1', 1, now(), CASE n WHEN 7 THEN 0 ELSE 1 END FROM generate_series(1, 3000) AS n"
    )
    await world.execute("ANALYZE charging_sessions, live_meters")
    async with world.database.unit_of_work() as uow:
        plan = "\n".join((await uow.execute(text(f"EXPLAIN {_DUE.text}"), {"limit": 10_000})).scalars())
        assert len(await LedgerRepository(uow).due_ids(10_000)) == 1
    assert "Seq Scan" not in plan


async def test_held_sessions_that_nothing_new_can_free_are_left_alone(world: World) -> None:
    stranger = await world.driver(mapped=False)
    unmapped = await world.charge(stranger.card, 700)
    implausible = await world.start(stranger.card, wh="NaN")
    await world.settle()
    long_ago = "UPDATE session_billing SET checked_at = '2026-01-01'"
    await world.execute(long_ago)
    await world.ledger.bill_held()
    looked_at = "SELECT checked_at > '2026-01-01' AS again FROM session_billing ORDER BY session_id"
    assert [row.again for row in await world.rows(looked_at)] == [False, False]

    await world.map(stranger)
    await world.ledger.bill_held()
    assert [row.again for row in await world.rows(looked_at)] == [True, False]
    assert (await world.session(unmapped)).billing == "billed"
    assert (await world.session(implausible)).reason == "implausible"


async def test_a_lock_whose_taking_is_cut_off_is_free_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = asyncpg.Connection.fetchval

    async def cut_off(connection: Any, *args: Any) -> None:
        await ask(connection, *args)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "fetchval", cut_off)
        with pytest.raises(asyncio.CancelledError):
            async with AdvisoryLock(database, LockName.SYNC):
                pass
    async with asyncio.timeout(20):
        while True:
            async with AdvisoryLock(database, LockName.SYNC) as lock:
                if lock.held:
                    return
            await asyncio.sleep(0.01)


async def test_a_replaced_steve_whose_ids_begin_anew_loses_no_session_on_the_same_charger(world: World) -> None:
    driver = await world.driver()
    old = await world.start(driver.card, wh=0)
    world.stop(old, 5_000)
    running = await world.start(driver.card, wh=5_000, at=NOON + timedelta(hours=2))
    await world.read(running, (121, 5_100), (150, 7_000))
    await world.settle()
    assert world.billed_wh(driver.subscription) == 7_000

    _replace_steve(world)
    later = NOON + timedelta(days=3)
    again = await world.start(driver.card, wh=0, at=later)
    assert again == old
    await world.settle()
    second = await world.start(driver.card, wh=5_000, at=later + timedelta(hours=2))
    assert second == running
    for transaction, wh in ((again, 5_000), (second, 6_500)):
        world.steve.stop_transaction(transaction, wh, later + timedelta(hours=4))
    await world.settle()
    await world.runs.run_if_due()
    await world.settle()

    assert world.billed_wh(driver.subscription) == 7_000 + 5_000 + 1_500
    sessions = await world.rows("SELECT * FROM charging_sessions ORDER BY id")
    assert [(each.state, each.stop_wh) for each in sessions] == [
        ("settled", 5_000),
        ("quarantined", None),
        ("settled", 5_000),
        ("settled", 6_500),
    ]
    assert sessions[1].quarantine_reason == "vanished_in_steve"
    notice = await world.row(
        "SELECT payload FROM domain_events WHERE payload->>'kind' = 'steve_ids_used_again' LIMIT 1"
    )
    assert notice.payload["severity"] == "error"


async def test_a_transaction_that_comes_back_under_its_old_id_is_not_billed_again(world: World) -> None:
    """Two workers follow two SteVes, or the old SteVe returns: what it shows was billed before."""
    driver = await world.driver()
    old = await world.start(driver.card, wh=0)
    world.stop(old, 5_000)
    await world.settle()
    before = dict(world.steve.state.transactions)
    _replace_steve(world)
    again = await world.start(driver.card, wh=100, at=NOON + timedelta(days=3))
    await world.settle()

    world.steve.state.transactions.clear()
    world.steve.state.active.clear()
    world.steve.state.transactions.update(before)
    for _ in range(2):
        await world.runs.request_run("test")
        await world.runs.run_requested()
        await world.settle()
    assert again == old
    assert world.billed_wh(driver.subscription) == 5_000
    assert (await world.row("SELECT count(*) AS n FROM charging_sessions")).n == 2


def _replace_steve(world: World) -> None:
    """The database is a new one: same tags and charge boxes, no transactions, ids from 1."""
    state = world.steve.state
    for box in state.charge_boxes():
        state._delete_transactions(box.transaction_ids)
    state._last_ids["transaction"] = 0
