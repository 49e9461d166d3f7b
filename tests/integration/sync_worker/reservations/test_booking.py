"""Booking, moving and cancelling: what the database makes impossible."""

import asyncio
from datetime import timedelta

import pytest
from tests.support.yard import BOX, Yard

from polaris_common.charging.chargers import ChargerNotFound
from polaris_common.charging.reservations import (
    Holder,
    ReservationClosed,
    ReservationConflict,
    ReservationRepository,
    Window,
    WindowInvalid,
)
from polaris_common.identity.principals import Driver, Operator


async def test_two_bookings_at_the_same_moment_do_not_both_get_the_connector(yard: Yard) -> None:
    booked = await asyncio.gather(*(yard.reserve(30, 60) for _ in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in booked) == ["ReservationConflict"] * 7 + ["int"]


@pytest.mark.parametrize(
    ("connector", "start", "end", "free"),
    [
        (1, 60, 90, True),
        (1, 0, 30, True),
        (1, 59, 90, False),
        (1, 40, 50, False),
        (2, 30, 60, True),
        (0, 30, 60, False),
        (0, 60, 90, True),
    ],
)
async def test_a_window_ends_just_before_the_next_begins_and_connector_0_is_the_whole_charger(
    yard: Yard, connector: int, start: float, end: float, free: bool
) -> None:
    now = (await yard.site.row("SELECT now() AS now")).now
    minutes = [now + timedelta(minutes=n) for n in (30, 60, start, end)]
    async with yard.site.database.unit_of_work() as uow:
        repository = ReservationRepository(uow)
        first = await repository.create(Window(BOX, 1, minutes[0], minutes[1]), yard.card(), by=None)
        wanted = Window(BOX.lower(), connector, minutes[2], minutes[3])
        assert ([row.id for row in await repository.overlapping(wanted)] == []) is free
        if free:
            assert (await repository.create(wanted, yard.card(), by=None)).charge_box_id == BOX
            return
        with pytest.raises(ReservationConflict) as refused:
            await repository.create(wanted, yard.card(), by=None)
        assert [row.id for row in refused.value.conflicts] == [first.id]


async def test_a_whole_charger_excludes_another_whole_charger_and_every_connector(yard: Yard) -> None:
    await yard.reserve(30, 60, connector=0)
    for connector in (0, 1, 2):
        with pytest.raises(ReservationConflict):
            await yard.reserve(30, 60, connector=connector)


async def test_what_was_cancelled_keeps_nobody_away(yard: Yard) -> None:
    await yard.cancel(await yard.reserve(30, 60))
    await yard.reserve(30, 60)


async def test_another_charger_is_another_matter(yard: Yard) -> None:
    await yard.charger("CP-2")
    await yard.reserve(30, 60)
    await yard.reserve(30, 60, box="CP-2")


@pytest.mark.parametrize(("start", "end"), [(-30, 60), (60, 60), (60, 30), (10, 10 + 8 * 24 * 60)])
async def test_a_window_in_the_past_or_backwards_or_endless_is_refused(yard: Yard, start: float, end: float) -> None:
    with pytest.raises(WindowInvalid):
        await yard.reserve(start, end)


async def test_a_negative_connector_and_an_unknown_charger_are_refused(yard: Yard) -> None:
    with pytest.raises(WindowInvalid):
        await yard.reserve(connector=-1)
    with pytest.raises(ChargerNotFound):
        await yard.reserve(box="TYPO")


async def test_cancelling_twice_is_one_cancellation_and_an_ended_one_cannot_be_cancelled(yard: Yard) -> None:
    reservation = await yard.reserve(30, 60)
    await yard.cancel(reservation)
    await yard.cancel(reservation)
    assert len(await yard.events("reservation.cancelled")) == 1
    await yard.site.execute("UPDATE reservations SET status = 'completed'")
    with pytest.raises(ReservationClosed):
        await yard.cancel(reservation)
    assert (await yard.reservation(reservation)).status == "completed"


async def test_a_booking_can_be_moved_within_its_own_time_and_not_onto_anothers(yard: Yard) -> None:
    reservation = await yard.reserve(30, 60)
    other = await yard.reserve(90, 120)
    begins = (await yard.reservation(reservation)).start_at
    async with yard.site.database.unit_of_work() as uow:
        repository = ReservationRepository(uow)
        await repository.reschedule(reservation, begins + timedelta(minutes=10), begins + timedelta(minutes=40))
        with pytest.raises(ReservationConflict) as refused:
            await repository.reschedule(reservation, begins, begins + timedelta(minutes=61))
        assert [row.id for row in refused.value.conflicts] == [other]
    assert (await yard.reservation(reservation)).start_at == begins + timedelta(minutes=10)


async def test_what_has_ended_cannot_be_moved(yard: Yard) -> None:
    reservation = await yard.reserve(30, 60)
    await yard.cancel(reservation)
    row = await yard.reservation(reservation)
    with pytest.raises(ReservationClosed):
        async with yard.site.database.unit_of_work() as uow:
            await ReservationRepository(uow).reschedule(reservation, row.start_at, row.end_at)


async def test_a_driver_sees_only_their_own(yard: Yard) -> None:
    ann, bob = await yard.driver("ann"), await yard.driver("bob")
    mine = await yard.reserve(30, 60, holder=yard.card(user_id=ann))
    await yard.reserve(60, 90, holder=yard.card(user_id=bob))
    await yard.reserve(90, 120, holder=Holder())
    async with yard.site.database.unit_of_work() as uow:
        repository = ReservationRepository(uow)
        assert [row.id for row in await repository.all(repository.readable_by(Driver(ann)))] == [mine]
        assert len(await repository.all(repository.readable_by(Operator(bob)))) == 3


async def test_losing_the_last_card_cancels_what_is_still_to_come(yard: Yard) -> None:
    ann = await yard.driver()
    held = await yard.reserve(2, 60, holder=yard.card(user_id=ann))
    await yard.round()
    later = await yard.reserve(90, 120, holder=yard.card(user_id=ann))
    async with yard.site.database.unit_of_work() as uow:
        assert await ReservationRepository(uow).cancel_upcoming(ann, reason="no_card") == 2
    assert {(await yard.reservation(one)).status for one in (held, later)} == {"cancelled"}
    assert {event["reason"] for event in await yard.events("reservation.cancelled")} == {"no_card"}
