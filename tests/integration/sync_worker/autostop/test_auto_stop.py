"""Sessions that must not go on."""

from datetime import timedelta

import httpx
import pytest
from tests.support.site import CARD
from tests.support.worker_processes import served, until, workers
from tests.support.yard import Yard

from billing_bridge.mirror.cards import stop_sessions
from polaris_common.charging.session_stops import SessionStopRepository
from polaris_common.models import StopReason, TagMapping
from polaris_sim.faults import Fault
from sync_worker.autostop.service import AutoStop


async def _notices(yard: Yard) -> list[tuple[str, str]]:
    return [(event["kind"], event["detail"]) for event in await yard.events("operator.notice")]


async def _open(yard: Yard) -> int:
    return len(await yard.site.rows("SELECT id FROM session_stops WHERE closed_at IS NULL"))


async def test_a_session_that_must_end_is_stopped_logged_and_reported(yard: Yard) -> None:
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    await yard.stop_round()
    assert await yard.site.state(transaction) == ("settled", None)
    row = await yard.site.row("SELECT * FROM charger_operation_log")
    assert (row.operation, row.params, row.source, row.reason, row.outcome) == (
        "RemoteStopTransaction",
        {"transactionId": transaction},
        "auto_stop",
        "wallet_depleted",
        "accepted",
    )
    assert row.requested_by is None
    assert await _notices(yard) == [("auto_stop", "wallet_depleted")]
    assert await _open(yard) == 0


async def test_the_same_reason_twice_asks_the_charger_once_however_many_workers_there_are(yard: Yard) -> None:
    transaction = await yard.charging()
    await yard.charger(responses={"RemoteStopTransaction": "Rejected"})
    assert await yard.want_stop(transaction)
    assert not await yard.want_stop(transaction)
    other = AutoStop(yard.site.database, yard.site.jobs)
    for _ in range(3):
        await yard.stop_round()
        await other.sweep()
    assert yard.sent("RemoteStopTransaction") == 1
    assert len(await yard.events("session.stop_wanted")) == 1


async def test_two_reasons_at_once_ask_the_charger_once(yard: Yard) -> None:
    transaction = await yard.charging()
    await yard.want_stop(transaction, StopReason.WALLET_DEPLETED)
    await yard.want_stop(transaction, StopReason.CARD_REPORTED_LOST)
    await yard.stops.sweep()
    await yard.stop_round()
    assert yard.sent("RemoteStopTransaction") == 1
    assert await _open(yard) == 0


async def test_a_session_that_has_ended_meanwhile_is_left_alone(yard: Yard) -> None:
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    await yard.stopped(transaction)
    await yard.stop_round()
    assert (await yard.log(), await _open(yard), await _notices(yard)) == ([], 0, [])


async def test_a_session_whose_end_is_seen_before_the_chargers_answer_is_asked_once_and_told_as_stopped(
    yard: Yard,
) -> None:
    """The station sends its stop, and only then says that it accepts."""
    transaction = await yard.charging()
    await yard.want_stop(transaction)

    async def ends_first(path: str) -> None:
        if path.startswith("/operations"):
            yard.site.requests.before = None
            await yard.stopped(transaction)
            await yard.stops.sweep()

    yard.site.requests.before = ends_first
    for _ in range(2):
        await yard.stop_round()
    assert await yard.site.state(transaction) == ("settled", None)
    assert (yard.sent("RemoteStopTransaction"), await _open(yard)) == (1, 0)
    assert await _notices(yard) == [("auto_stop", "wallet_depleted")]


async def test_a_card_that_is_good_again_keeps_its_session(yard: Yard) -> None:
    async with yard.site.database.unit_of_work() as uow:
        uow.session.add(TagMapping(id_tag=CARD, is_active=True))
    transaction = await yard.charging()
    await yard.want_stop(transaction, StopReason.SUBSCRIPTION_TERMINATED)
    await yard.stop_round()
    assert (await yard.log(), await _open(yard)) == ([], 0)


async def test_what_billing_decides_about_cards_reaches_the_charger_inherited_sessions_too(yard: Yard) -> None:
    async with yard.site.database.unit_of_work() as uow:
        uow.session.add(mapping := TagMapping(id_tag="META-1", tag_type="meta"))
        await uow.session.flush()
    await yard.site.execute(
        "INSERT INTO ocpp_tags (ocpp_tag_pk, id_tag, parent_id_tag, max_active_transaction_count)"
        " VALUES (1, :card, 'META-1', 1)",
        card=CARD,
    )
    transaction = await yard.charging()
    async with yard.site.database.unit_of_work() as uow:
        assert await stop_sessions(uow, [mapping.id], reason="usage_cap_exceeded") == 1
        assert await stop_sessions(uow, [mapping.id], reason="usage_cap_exceeded") == 0
    await yard.stop_round()
    assert await yard.site.state(transaction) == ("settled", None)


async def test_a_stop_that_the_charger_declines_is_not_passed_off_as_done_and_operators_hear_of_it(yard: Yard) -> None:
    await yard.charger(responses={"RemoteStopTransaction": "Rejected"})
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    await yard.stop_round()
    assert await yard.log() == [("failed", "rejected")]
    assert await _notices(yard) == [("auto_stop", "wallet_depleted")]
    await yard.site.execute("UPDATE session_stops SET requested_at = now() - interval '6 minutes'")
    await yard.stop_round()
    await yard.stop_round()
    assert await _notices(yard) == [("auto_stop", "wallet_depleted"), ("auto_stop_failed", "rejected")]
    assert yard.sent("RemoteStopTransaction") == 1


async def test_a_session_that_ends_after_operators_were_told_closes_the_matter(yard: Yard) -> None:
    await yard.charger(responses={"RemoteStopTransaction": "Rejected"})
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    await yard.site.execute("UPDATE session_stops SET requested_at = now() - interval '6 minutes'")
    await yard.stop_round()
    assert await _open(yard) == 1
    await yard.stopped(transaction)
    await yard.stops.sweep()
    assert await _open(yard) == 0


async def test_a_lost_answer_is_not_followed_by_a_second_stop(yard: Yard) -> None:
    yard.fault(Fault.RESET_AFTER, "RemoteStopTransaction")
    yard.site.steve.station.remote_stop = _deaf  # type: ignore[method-assign]
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    for _ in range(3):
        await yard.stop_round()
    assert (yard.sent("RemoteStopTransaction"), await yard.log()) == (1, [("timeout", "unknown")])


async def _deaf(transaction_id: int) -> None:
    """The charger answers and goes on charging."""


async def test_a_stop_that_certainly_never_left_is_tried_again_until_steve_is_back(yard: Yard) -> None:
    async def nobody_listens(path: str) -> None:
        if path.startswith("/operations"):
            raise httpx.ConnectError("refused")

    transaction = await yard.charging()
    await yard.want_stop(transaction)
    yard.site.requests.before = nobody_listens
    await yard.stop_round()
    await yard.stop_round()
    assert await yard.log() == [("failed", "unreachable")]
    yard.site.requests.before = None
    await yard.site.execute("UPDATE session_stops SET asked_at = now() - interval '1 minute'")
    await yard.stop_round()
    assert await yard.log() == [("failed", "unreachable"), ("completed", "accepted")]
    assert await yard.site.state(transaction) == ("settled", None)


async def test_a_sweep_that_dies_before_its_commit_has_asked_nothing_and_the_next_one_asks_once(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction = await yard.charging()
    await yard.want_stop(transaction)

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killing:
        killing.setattr(SessionStopRepository, "asked", dies)
        with pytest.raises(RuntimeError):
            await yard.stops.sweep()
    assert await yard.log() == []
    await yard.stop_round()
    assert yard.sent("RemoteStopTransaction") == 1


async def test_sessions_that_cannot_be_stopped_do_not_keep_others_waiting(yard: Yard) -> None:
    first = await yard.charging()
    await yard.want_stop(first)
    session = await yard.site.session(first)
    await yard.site.execute(
        "WITH stubborn AS (INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag,"
        " started_at, start_wh) SELECT 10000 + n, 'CP-1', 2, 'X', now(), 0 FROM generate_series(1, 150) AS n"
        " RETURNING id), asked AS (INSERT INTO charger_operation_log (charge_box_id, operation, params, source,"
        " idempotency_key, status, outcome, not_after) VALUES ('CP-1', 'RemoteStopTransaction', '{}', 'auto_stop', 'x',"
        " 'failed', 'rejected', now()) RETURNING id) INSERT INTO session_stops (session_id, reason, operation_id,"
        " asked_at, attempts) SELECT stubborn.id, 'manual', asked.id, now(), 1 FROM stubborn, asked"
    )
    await yard.stops.sweep()
    row = await yard.site.row("SELECT asked_at FROM session_stops WHERE session_id = :id", id=session.id)
    assert row.asked_at is not None


async def test_a_running_worker_stops_a_session_within_seconds(yard: Yard, database_url: str, redis_url: str) -> None:
    transaction = await yard.charging()

    async def has_ended() -> bool:
        return yard.site.steve.transaction(transaction).stop is not None

    async with (
        served(yard.site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve),
    ):
        await yard.want_stop(transaction)
        await until(has_ended)


async def test_operators_wait_as_long_as_they_want_to(yard: Yard) -> None:
    await yard.charger(responses={"RemoteStopTransaction": "Rejected"})
    impatient = AutoStop(yard.site.database, yard.site.jobs, patience=timedelta())
    transaction = await yard.charging()
    await yard.want_stop(transaction)
    await impatient.sweep()
    assert ("auto_stop_failed", "no_answer") in await _notices(yard)
