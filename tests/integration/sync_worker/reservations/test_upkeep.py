"""What the charger is asked about a reservation, and when."""

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.support.site import CARD
from tests.support.yard import Yard, build_yard

from polaris_common.charging.reservations import Holder, ReservationRepository
from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.faults import Fault
from polaris_sim.steve import Profile
from sync_worker.reservations.service import ReservationUpkeep


@pytest.fixture
async def naming(database: Database, redis_settings: RedisSettings) -> AsyncIterator[Yard]:
    """A SteVe whose answer names the reservation it has made."""
    async with build_yard(database, redis_settings, names_reservations=True) as built:
        # Task numbers and reservation numbers are not to agree by chance.
        for _ in range(3):
            await built.operate("GetLocalListVersion")
        yield built


def _at_the_charger(yard: Yard) -> list[int]:
    return sorted(yard.site.steve.state.reservations)


async def test_a_booking_for_tomorrow_leaves_the_connector_free_today(yard: Yard) -> None:
    reservation = await yard.reserve(24 * 60, 25 * 60)
    await yard.round()
    assert (await yard.standing(reservation), yard.sent("ReserveNow")) == (("pending", "none"), 0)


async def test_shortly_before_the_start_the_charger_holds_the_connector_until_the_end(yard: Yard) -> None:
    reservation = await yard.reserve(24 * 60, 25 * 60)
    await yard.shift(reservation, 24 * 60 - 4)
    await yard.round()
    row = await yard.reservation(reservation)
    assert (row.status, row.hold) == ("confirmed", "held")
    (held,) = yard.site.steve.state.reservations.values()
    assert (held.id_tag, held.connector_id) == (CARD, 1)
    assert abs((held.expiry - row.end_at).total_seconds()) < 1
    assert [event["status"] for event in await yard.events("reservation.changed")] == ["pending", "confirmed"]
    for _ in range(3):
        await yard.round()
    assert yard.sent("ReserveNow") == 1


@pytest.mark.parametrize("said", ["Rejected", "Occupied"])
async def test_a_refusal_at_the_start_is_a_conflict_and_no_confirmation(yard: Yard, said: str) -> None:
    await yard.charger(responses={"ReserveNow": said})
    reservation = await yard.reserve()
    await yard.round()
    row = await yard.reservation(reservation)
    assert (row.status, row.hold, row.reason) == ("conflicted", "refused", said.lower())
    assert (await yard.events("reservation.changed"))[-1]["status"] == "conflicted"
    await yard.reserve()


async def test_a_refusal_in_a_task_that_finishes_later_is_a_conflict_too(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_yard(database, redis_settings, operation_timeout_seconds=0.01) as yard:
        await yard.charger(answer_delay_seconds=0.05)
        reservation = await yard.reserve()
        await yard.round()
        assert await yard.standing(reservation) == ("pending", "asking")
        await yard.site.steve.settled()
        task = yard.site.steve.tasks.get(1)
        assert task is not None
        task.finished, task.success = True, [{"chargeBoxId": "CP-1", "response": "Rejected"}]
        await yard.round()
        assert await yard.standing(reservation) == ("conflicted", "refused")


async def test_a_connector_that_is_still_occupied_before_the_start_is_asked_for_again(yard: Yard) -> None:
    await yard.charger(responses={"ReserveNow": "Occupied"})
    reservation = await yard.reserve(4, 60)
    await yard.round()
    assert await yard.standing(reservation) == ("pending", "none")
    await yard.charger()
    await yard.round()
    assert yard.sent("ReserveNow") == 1
    await yard.shift(reservation, 1)
    await yard.round()
    assert (await yard.standing(reservation), yard.sent("ReserveNow")) == (("confirmed", "held"), 2)


async def test_cancelling_sends_the_reservations_own_number_and_never_the_tasks(naming: Yard) -> None:
    foreign = naming.site.steve.state.add_reservation("CP-1", 2, "X", naming.site.steve.clock.now())
    reservation = await naming.reserve()
    await naming.round()
    row = await naming.reservation(reservation)
    assert (row.steve_reservation_id, _at_the_charger(naming)) == (2, [1, 2])
    await naming.cancel(reservation)
    await naming.round()
    assert await naming.standing(reservation) == ("cancelled", "released")
    assert _at_the_charger(naming) == [foreign.reservation_id]


async def test_without_its_number_nothing_is_cancelled_by_guess_and_operators_are_told(yard: Yard) -> None:
    yard.site.steve.state.add_reservation("CP-1", 2, "X", yard.site.steve.clock.now())
    reservation = await yard.reserve()
    await yard.round()
    await yard.cancel(reservation)
    await yard.round()
    assert await yard.standing(reservation) == ("cancelled", "left")
    assert (yard.sent("CancelReservation"), len(_at_the_charger(yard))) == (0, 2)
    (notice,) = await yard.events("operator.notice")
    assert (notice["kind"], notice["sourceId"], notice["detail"]) == ("reservation_not_held", str(reservation), "left")


async def test_cancelled_while_the_charger_is_being_asked_it_is_released_afterwards(naming: Yard) -> None:
    reservation = await naming.reserve()
    await naming.upkeep.sweep()
    await naming.cancel(reservation)
    await naming.operations.run_due()
    await naming.round()
    assert (await naming.standing(reservation), _at_the_charger(naming)) == (("cancelled", "released"), [])


async def test_a_booking_that_was_never_sent_is_cancelled_without_the_charger(yard: Yard) -> None:
    reservation = await yard.reserve(60, 90)
    await yard.cancel(reservation)
    await yard.round()
    assert (await yard.standing(reservation), await yard.log()) == (("cancelled", "none"), [])


async def test_a_moved_booking_is_taken_back_from_the_charger_and_given_again_in_its_time(naming: Yard) -> None:
    reservation = await naming.reserve(2, 60)
    await naming.round()
    row = await naming.reservation(reservation)
    async with naming.site.database.unit_of_work() as uow:
        day = row.end_at - row.start_at
        await ReservationRepository(uow).reschedule(reservation, row.end_at + day, row.end_at + 2 * day)
    await naming.round()
    assert (await naming.standing(reservation), _at_the_charger(naming)) == (("pending", "none"), [])
    await naming.shift(reservation, 2 * day.total_seconds() / 60 - 2)
    await naming.round()
    assert await naming.standing(reservation) == ("confirmed", "held")
    (held,) = naming.site.steve.state.reservations.values()
    assert abs((held.expiry - (await naming.reservation(reservation)).end_at).total_seconds()) < 1


async def test_a_lost_answer_is_not_followed_by_a_second_request(yard: Yard) -> None:
    yard.fault(Fault.RESET_AFTER, "ReserveNow")
    reservation = await yard.reserve()
    for _ in range(3):
        await yard.round()
    assert (await yard.standing(reservation), yard.sent("ReserveNow")) == (("pending", "unknown"), 1)


async def test_while_steve_is_away_a_booking_waits_and_is_sent_when_it_is_back(yard: Yard) -> None:
    async def nobody_listens(path: str) -> None:
        raise httpx.ConnectError("refused")

    yard.site.requests.before = nobody_listens
    reservation = await yard.reserve()
    await yard.round()
    await yard.round()
    assert (await yard.standing(reservation), await yard.log()) == (("pending", "none"), [("failed", "unreachable")])
    yard.site.requests.before = None
    await yard.shift(reservation, 1)
    await yard.round()
    assert await yard.standing(reservation) == ("confirmed", "held")


async def test_an_offline_charger_is_asked_again_later(yard: Yard) -> None:
    yard.site.steve.add_charge_box("CP-1", online=False)
    reservation = await yard.reserve()
    await yard.round()
    assert await yard.standing(reservation) == ("pending", "none")
    yard.site.steve.add_charge_box("CP-1", online=True)
    await yard.shift(reservation, 1)
    await yard.round()
    assert await yard.standing(reservation) == ("confirmed", "held")


async def test_a_steve_that_cannot_reserve_leaves_the_booking_to_our_own_books(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_yard(database, redis_settings, Profile.V3_8) as yard:
        reservation = await yard.reserve()
        await yard.round()
        await yard.round()
        assert await yard.standing(reservation) == ("pending", "unsupported")
        assert [event["detail"] for event in await yard.events("operator.notice")] == ["unsupported"]
        await yard.stopped(await yard.charging())
        await yard.round()
        await yard.round()
        assert (await yard.reservation(reservation)).status == "completed"


async def test_a_driver_who_comes_uses_the_booking_and_its_end_completes_it(yard: Yard) -> None:
    reservation = await yard.reserve()
    await yard.round()
    transaction = await yard.charging()
    await yard.round()
    row = await yard.reservation(reservation)
    assert (row.status, row.session_id) == ("active", (await yard.site.session(transaction)).id)
    await yard.stopped(transaction)
    await yard.round()
    assert await yard.standing(reservation) == ("completed", "released")
    statuses = [event["status"] for event in await yard.events("reservation.changed")]
    assert statuses == ["pending", "confirmed", "active", "completed"]
    assert yard.sent("CancelReservation") == 0


async def test_a_driver_who_comes_with_another_card_gets_the_connector_back_for_others(naming: Yard) -> None:
    ann = await naming.driver()
    naming.site.steve.add_tag("OTHER", max_active_transaction_count=-1)
    await naming.site.execute("INSERT INTO tag_mappings (id_tag, user_id) VALUES ('OTHER', :ann)", ann=ann)
    reservation = await naming.reserve(holder=naming.card(user_id=ann))
    await naming.round()
    await naming.charging(card="OTHER")
    await naming.round()
    assert (await naming.standing(reservation), _at_the_charger(naming)) == (("active", "released"), [])


async def test_somebody_elses_session_uses_nothing(yard: Yard) -> None:
    yard.site.steve.add_tag("STRANGER", max_active_transaction_count=-1)
    reservation = await yard.reserve()
    await yard.round()
    await yard.charging(card="STRANGER")
    await yard.charging(connector=2)
    await yard.round()
    assert (await yard.reservation(reservation)).status == "confirmed"


async def test_when_nobody_came_the_booking_ends_with_its_time_and_says_so(yard: Yard) -> None:
    reservation = await yard.reserve()
    await yard.round()
    await yard.shift(reservation, 61)
    await yard.round()
    row = await yard.reservation(reservation)
    assert (row.status, row.reason, row.hold) == ("orphaned", "no_show", "released")
    assert yard.sent("CancelReservation") == 0
    assert (await yard.events("reservation.changed"))[-1]["reason"] == "no_show"


async def test_a_blackout_keeps_drivers_away_and_never_reaches_the_charger(yard: Yard) -> None:
    reservation = await yard.reserve(holder=Holder())
    await yard.round()
    assert await yard.standing(reservation) == ("active", "none")
    await yard.shift(reservation, 61)
    await yard.round()
    assert (await yard.standing(reservation), await yard.log()) == (("completed", "none"), [])


async def test_two_workers_ask_once(yard: Yard) -> None:
    await yard.reserve()
    other = ReservationUpkeep(yard.site.database, yard.site.jobs)
    await yard.upkeep.sweep()
    await other.sweep()
    await yard.round()
    assert yard.sent("ReserveNow") == 1


async def test_a_sweep_that_dies_before_its_commit_has_asked_nothing(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservation = await yard.reserve()

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killing:
        killing.setattr(ReservationUpkeep, "_write", dies)
        with pytest.raises(RuntimeError):
            await yard.upkeep.sweep()
    assert await yard.log() == []
    await yard.round()
    assert (await yard.standing(reservation), yard.sent("ReserveNow")) == (("confirmed", "held"), 1)


async def test_a_charger_that_steve_has_lost_is_not_asked(yard: Yard) -> None:
    reservation = await yard.reserve()
    await yard.site.execute("UPDATE chargers SET gone_at = now()")
    await yard.round()
    await yard.round()
    assert (await yard.standing(reservation), await yard.log()) == (("pending", "none"), [])
