"""Everything that can happen to reservations: drivers, operators, SQL past our code, upkeep that dies, chargers."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from polaris_common.charging.reservations import (
    BLACKOUT_TAG_PK,
    Holder,
    ReservationClosed,
    ReservationConflict,
    ReservationRepository,
    Window,
    WindowInvalid,
)
from polaris_common.db import Database
from polaris_common.ids import new_public_id
from polaris_sim.faults import Fault
from polaris_sim.steve import StationBehaviour
from tests.chaos.bookings import (
    STATUSES,
    Attempt,
    Book,
    Booking,
    Bookings,
    Cancel,
    Move,
    Overwrite,
    outcomes,
    overlaps,
)
from tests.chaos.city import UPKEEP_JOBS, City
from tests.chaos.clock import NOON
from tests.chaos.loop import LoopMachine
from tests.chaos.mortal import Ending, Killed, Lifeline
from tests.chaos.work import FAULTS, fault_rule

BOXES = ("CP-1", "CP-2")
CARDS = ("CARD1", "CARD2")
FIRST_SLOT, SLOT = NOON + timedelta(minutes=5), timedelta(minutes=30)
"""Windows begin and end at a handful of moments, so that they often touch, and never near a moment when time stops."""
REFUSALS = (ReservationConflict, ReservationClosed, WindowInvalid)
SQL_REFUSALS: Mapping[type[Exception], str] = {
    asyncpg.ExclusionViolationError: "ReservationConflict",
    asyncpg.CheckViolationError: "WindowInvalid",
    asyncpg.DataError: "WindowInvalid",
}

_ROWS = "SELECT * FROM reservations ORDER BY id"
_INSERT = (
    "INSERT INTO reservations (charge_box_id, connector_id, start_at, end_at, status, ocpp_tag_pk, id_tag)"
    " VALUES ($1, $2, $3, $4, $5, 1, 'CARD1') RETURNING id"
)
_UPDATE = (
    "UPDATE reservations SET charge_box_id = $2, connector_id = $3, start_at = $4, end_at = $5, status = $6"
    " WHERE id = $1"
)
_ASKED_AT_ONCE = "SELECT reason FROM charger_operation_log WHERE outcome IS NULL GROUP BY reason HAVING count(*) > 1"
_TOLD = (
    "SELECT DISTINCT ON (payload->'reservationId') payload->'reservationId' AS id, payload->>'status' AS status"
    " FROM domain_events WHERE type IN ('reservation.changed', 'reservation.cancelled')"
    " ORDER BY payload->'reservationId', created_at DESC, id DESC"
)

windows = st.tuples(st.integers(0, 5), st.sampled_from((1, 1, 1, 2, 3, 0))).map(
    lambda slots: (FIRST_SLOT + SLOT * slots[0], FIRST_SLOT + SLOT * (slots[0] + slots[1]))
)
plugs = st.tuples(st.sampled_from((*BOXES, "cp-1")), st.sampled_from((1, 1, 2, 0)))
some = st.integers(0, 5)
attempts = st.tuples(st.sampled_from(("book", "book", "move", "cancel", "insert", "overwrite")), some, plugs, windows)
Drawn = tuple[str, int, tuple[str, int], tuple[datetime, datetime]]


class Reservations(LoopMachine):
    """See the module."""

    def __init__(self, city: City, runner: asyncio.Runner) -> None:
        super().__init__(runner)
        self.city, self.charging = city, list[int]()
        self.asked = self.passed = 0
        """How many reservations SteVe has made, and how many minutes have passed."""
        self.past_our_code: set[int] = set()
        """Reservations that were made or changed past our code, of which nobody was told."""
        self.before: Bookings = {}
        self.run(city.begin())

    @initialize(named=st.booleans(), drawn=st.lists(st.tuples(plugs, windows), max_size=4))
    def a_yard(self, named: bool, drawn: list[tuple[tuple[str, int], tuple[datetime, datetime]]]) -> None:
        """Two charge boxes with two plugs; perhaps SteVe tells the numbers of its reservations."""
        city = self.city
        city.steve.config = replace(city.steve.config, names_reservations=named)
        add = city.steve.state.add_reservation

        def counted(*values: Any) -> Any:
            self.asked += 1
            return add(*values)

        city.steve.state.add_reservation = counted  # type: ignore[method-assign, assignment]
        for card in CARDS:
            city.steve.add_tag(card, max_active_transaction_count=-1)
        for box in BOXES:
            city.steve.add_charge_box(box, connectors=2)
            query = "INSERT INTO chargers (charge_box_id, public_id) VALUES ($1, $2)"
            self.run(city.execute(query, box, new_public_id()))
        for plug, window in drawn:
            self.try_at_once([("book", 0, plug, window)])

    @rule(drawn=st.lists(attempts, min_size=1, max_size=1))
    def somebody_tries(self, drawn: list[Drawn]) -> None:
        self.try_at_once(drawn)

    @rule(drawn=st.lists(attempts, min_size=2, max_size=3))
    def some_try_at_once(self, drawn: list[Drawn]) -> None:
        self.try_at_once(drawn)

    @rule(plug=plugs, window=windows, people=st.integers(1, 3))
    def some_want_the_same(self, plug: tuple[str, int], window: tuple[datetime, datetime], people: int) -> None:
        other_case = (plug[0].swapcase(), plug[1])
        self.try_at_once([*[("book", 0, plug, window)] * people, ("insert", 0, other_case, window)])

    @rule(drawn=attempts, steps=st.integers(0, 9), ending=st.sampled_from(Ending))
    def somebody_is_cut_off(self, drawn: Drawn, steps: int, ending: Ending) -> None:
        """What they tried has happened, or not: nothing in between."""
        attempt = self._attempt(-1, (drawn[0].replace("insert", "book").replace("overwrite", "move"), *drawn[1:]))
        _, after = attempt.on(self.before, self._now)
        database = self.city.other_database
        database.lifeline = Lifeline(left=steps, ending=ending)
        try:
            self.run(self._through_our_code(database, attempt))
        except (Killed, OSError, *REFUSALS):
            self.broken = False
        rows = self.run(self._rows())
        assert _same(rows, self.before) or _same(rows, after), f"{attempt} was done in part: {rows}"
        self.before = rows

    @rule(which=some, status=st.sampled_from(STATUSES), at_once=attempts)
    def a_row_is_revived_while_somebody_books(self, which: int, status: str, at_once: Drawn) -> None:
        tried = [self._attempt(-1, at_once)]
        if self.before:
            number = self._one(which)
            tried.append(Overwrite(number, replace(self.before[number], status=status)))
        self._race(tried)

    @rule(
        job=st.sampled_from(UPKEEP_JOBS),
        steps=st.one_of(st.none(), st.integers(0, 19)),
        ending=st.sampled_from(Ending),
        booking=st.one_of(st.none(), attempts),
    )
    def upkeep(self, job: str, steps: int | None, ending: Ending, booking: Drawn | None) -> None:
        """Perhaps not to its end."""
        self._work(self.city.do(job, steps=steps, ending=ending))
        if booking is not None:
            self.try_at_once([booking])

    @rule(plug=plugs, steps=st.integers(0, 24), ending=st.sampled_from(Ending), two=st.booleans())
    def a_worker_ends_while_it_asks_a_charger(
        self, plug: tuple[str, int], steps: int, ending: Ending, two: bool
    ) -> None:
        """Of a reservation that is due; the next worker must not ask again."""
        due = self.passed + -self.passed % 30
        self.time_passes(due - self.passed)
        start = NOON + timedelta(minutes=due + 5)
        self.try_at_once([("book", 1, plug, (start, start + SLOT))])
        sweep = self.city.do_twice_at_once if two else self.city.do
        self._work(sweep("reservations", steps=None, ending=ending))
        self._work(self.city.do("operations", steps=steps, ending=ending))
        self._work(self.city.do("operations"))

    @rule(job=st.sampled_from(UPKEEP_JOBS), steps=st.one_of(st.none(), st.integers(0, 19)))
    def two_workers_at_once(self, job: str, steps: int | None) -> None:
        self._work(self.city.do_twice_at_once(job, steps=steps, ending=Ending.KILLED))

    @rule(drawn=st.lists(attempts, min_size=1, max_size=2))
    def somebody_tries_during_upkeep(self, drawn: list[Drawn]) -> None:
        """Whoever comes first; what is possible depends on it, so only the overlap and the events are looked at."""

        async def both() -> None:
            numbered = [self._attempt(-1 - number, each) for number, each in enumerate(drawn)]
            await self.city.restart()
            await asyncio.gather(self.city.sync.do("reservations"), *(self._tried(each) for each in numbered))

        self._work(both())

    @rule(minutes=st.sampled_from((10, 30, 30, 60)))
    def time_passes(self, minutes: int) -> None:
        self.passed += minutes
        self.run(self.city.pass_minutes(minutes))
        self._work(self.city.do("reservations"))

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def steve_has_trouble(self, fault: Fault, times: int) -> None:
        self.city.steve.faults.replace([fault_rule(fault, "/operations", times)])

    @rule(box=st.sampled_from(BOXES), says=st.sampled_from(("Accepted", "Rejected", "Occupied", "Faulted")))
    def a_charger_changes_its_mind(self, box: str, says: str) -> None:
        responses: dict[str, object] = {} if says == "Accepted" else {"ReserveNow": says}
        self.city.steve.add_charge_box(box, connectors=2, behaviour=StationBehaviour(responses=responses))

    @rule(card=st.sampled_from(CARDS), plug=plugs)
    def a_car_begins_to_charge(self, card: str, plug: tuple[str, int]) -> None:
        started = self.run(
            self.city.steve.start_transaction(
                plug[0].upper(), plug[1] or 1, card, start_value=0, timestamp=self.city.clock.minute()
            )
        )
        self.charging.append(started.transaction_id)
        self._work(self.city.do("live_poll"))

    @precondition(lambda self: self.charging)
    @rule()
    def a_car_stops(self) -> None:
        self.city.steve.stop_transaction(self.charging.pop(), 1_000, self.city.clock.minute())
        self._work(self.city.do("live_poll"))

    @invariant()
    def nothing_overlaps(self) -> None:
        rows = self.run(self._rows())
        assert not overlaps(rows), f"these overlap: {overlaps(rows)}"

    @invariant()
    def no_charger_is_asked_twice(self) -> None:
        query = "SELECT FROM charger_operation_log WHERE operation = 'ReserveNow' AND status <> 'pending'"
        wanted = len(self.run(self.city.rows(query)))
        assert self.asked <= wanted, f"SteVe made {self.asked} reservations of {wanted}"
        assert not self.run(self.city.rows(_ASKED_AT_ONCE)), "two requests are under way for one reservation"

    @invariant()
    def everybody_was_told_how_a_reservation_stands(self) -> None:
        told = {int(row["id"]): row["status"] for row in self.run(self.city.rows(_TOLD))}
        for number, booking in self.before.items():
            if number not in self.past_our_code:
                assert told[number] == booking.status, f"{number} is {booking.status}, {told[number]} was told"

    def teardown(self) -> None:
        """Time has passed them all; nothing is under way any more, at ours or at a charger."""
        try:
            if not self.broken:
                self._close()
        finally:
            self.runner.run(self.city.end())

    def try_at_once(self, drawn: Sequence[Drawn]) -> None:
        """Several people, each with a connection of their own."""
        self._race([self._attempt(-1 - number, each) for number, each in enumerate(drawn)])

    def _race(self, tried: list[Attempt]) -> None:
        now = self._now
        words = self.run(self._all_at_once(tried))
        rows = self.run(self._rows())
        possible = list(outcomes(self.before, tried, now))
        assert any(words == said and _same(rows, after) for said, after in possible), (
            f"{tried} ended with {words} and {rows}; possible are {possible}"
        )
        self.before = rows

    def _work(self, work: Any) -> None:
        self.run(work)
        self.run(self.city.steve.settled())
        self.before = self.run(self._rows())

    def _attempt(self, number: int, drawn: Drawn) -> Attempt:
        """What was drawn, of what there is; without any reservation one is booked."""
        what, which, (box, connector), (start, end) = drawn
        booking = Booking(box, connector, start, end, blackout=which % 2 == 0)
        match what:
            case "move" if self.before:
                return Move(self._one(which), start, end)
            case "cancel" if self.before:
                return Cancel(self._one(which))
            case "overwrite" if self.before:
                chosen = self._one(which)
                status = self.before[chosen].status
                return Overwrite(chosen, replace(booking, status=status, blackout=self.before[chosen].blackout))
            case "insert":
                return Book(number, replace(booking, blackout=False, status=STATUSES[which]), raw=True)
        return Book(number, booking)

    def _one(self, which: int) -> int:
        return sorted(self.before)[which % len(self.before)]

    @property
    def _now(self) -> datetime:
        return self.city.clock.now() - timedelta(minutes=1)

    async def _all_at_once(self, tried: list[Attempt]) -> list[str]:
        return list(await asyncio.gather(*(self._tried(each) for each in tried)))

    async def _tried(self, attempt: Attempt) -> str:
        """What came of it."""
        match attempt:
            case Book(raw=True) | Overwrite():
                return await self._past_our_code(attempt)
        try:
            await self._through_our_code(self.city.gateway, attempt)
        except REFUSALS as refusal:
            return type(refusal).__name__
        return "done"

    async def _through_our_code(self, database: Database, attempt: Attempt) -> None:
        async with database.unit_of_work() as uow:
            repository = ReservationRepository(uow)
            match attempt:
                case Book(booking=booking):
                    tag = 0 if booking.blackout else self.city.steve.tag(CARDS[booking.connector % 2]).ocpp_tag_pk
                    holder = Holder() if booking.blackout else Holder(tag, CARDS[booking.connector % 2])
                    window = Window(booking.box, booking.connector, booking.start, booking.end)
                    await repository.create(window, holder, by=None)
                case Move(number, start, end):
                    await repository.reschedule(number, start, end)
                case Cancel(number):
                    await repository.cancel(number)

    async def _past_our_code(self, attempt: Attempt) -> str:
        """Of two that wait for each other the server gives one up, which may try again."""
        while True:
            with suppress(asyncpg.DeadlockDetectedError):
                return await self._once_past_our_code(attempt)

    async def _once_past_our_code(self, attempt: Attempt) -> str:
        try:
            async with self.city.raw() as connection:
                match attempt:
                    case Book(booking=new):
                        values = (new.box, new.connector, new.start, new.end, new.status)
                        self.past_our_code.add(await connection.fetchval(_INSERT, *values))
                    case Overwrite(number, new):
                        self.past_our_code.add(number)
                        values = (new.box, new.connector, new.start, new.end, new.status)
                        await connection.execute(_UPDATE, number, *values)
        except tuple(SQL_REFUSALS) as refusal:
            return next(word for kind, word in SQL_REFUSALS.items() if isinstance(refusal, kind))
        return "done"

    async def _rows(self) -> Bookings:
        return {
            row["id"]: Booking(
                row["charge_box_id"],
                row["connector_id"],
                row["start_at"],
                row["end_at"],
                row["status"],
                row["ocpp_tag_pk"] == BLACKOUT_TAG_PK,
            )
            for row in await self.city.rows(_ROWS)
        }

    def _close(self) -> None:
        self.run(self.city.repair())
        for transaction in self.charging:
            self.city.steve.stop_transaction(transaction, 1_000, self.city.clock.minute())
        self._work(self.city.do("live_poll"))
        self.run(self.city.pass_minutes(24 * 60))
        for _ in range(3):
            for job in UPKEEP_JOBS:
                self._work(self.city.do(job))
                self.run(self.city.pass_minutes(10))
        self.nothing_overlaps()
        self.no_charger_is_asked_twice()
        self.everybody_was_told_how_a_reservation_stands()
        for row in self.run(self.city.rows(_ROWS)):
            assert row["status"] not in ("pending", "confirmed", "active"), f"{dict(row)} has not ended"
            assert row["hold"] not in ("asking", "held", "unknown", "releasing"), f"{dict(row)} is still held"


def _same(rows: Bookings, model: Bookings) -> bool:
    """Known reservations are as the model has them, and so are the new ones, whatever their ids."""
    known = {number: booking for number, booking in model.items() if number > 0}
    new = sorted(_spelt(booking) for number, booking in model.items() if number < 0)
    return {number: _spelt(rows[number]) for number in known if number in rows} == {
        number: _spelt(booking) for number, booking in known.items()
    } and sorted(_spelt(booking) for number, booking in rows.items() if number not in known) == new


def _spelt(booking: Booking) -> Booking:
    return replace(booking, box=booking.box.upper())
