"""Everything that can happen to the money path, in any order, with workers that die between any two steps."""

import asyncio
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from polaris_common.charging.samples import Sample
from polaris_sim.faults import Fault, FaultPlan, FaultRule
from tests.chaos import closing
from tests.chaos.books import Auditor
from tests.chaos.charges import Charge
from tests.chaos.city import CUSTOMERS, DEAR, FLAT, STANDARD, SUBSCRIPTIONS, SYNC_JOBS, City
from tests.chaos.loop import LoopMachine
from tests.chaos.mortal import Ending
from tests.chaos.work import AWAY, BEATS, FAULTS, FLOW, Beat, fault_rule

CARDS = ("CARD1", "CARD2", "CHILD")
"""The last one has no mapping of its own at first, and the first one as its parent."""
BOXES = ("CP-1", "CP-2")
PLANS = (STANDARD, DEAR, FLAT)
OTHER_REGISTERS = (Sample("99", phase="L1"), Sample("7000000", "Energy.Active.Export.Register"))
LAGO_PATHS = ("/events/batch", "/subscriptions", "/billable_metrics", ".*")
STEVE_PATHS = ("/transactions", "/ocppTags", ".*")
SIDE_BY_SIDE = (
    "bill_due",
    "bill_due",
    "bill_due",
    "live_poll",
    "run",
    "tag_sweep",
    "bill_held",
    "send_due",
    "inbox",
    "refresh",
)
NEEDS_LAGO = ("refresh", "sweep", "inbox", "send_due", "reconcile")

some = st.integers(0, 5)
"""One of several, modulo how many there are."""


def happens(**what: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule after which the workers do some of their work, perhaps not to the end."""

    def decorate(step: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(step)
        def step_and_work(self: "MoneyPath", beat: Beat, **values: Any) -> None:
            step(self, **values)
            self.work(beat)

        decorated: Callable[..., None] = rule(beat=BEATS, **what)(step_and_work)  # type: ignore[no-untyped-call]
        return decorated

    return decorate


class MoneyPath(LoopMachine):
    """See the module."""

    def __init__(self, city: City, runner: asyncio.Runner) -> None:
        super().__init__(runner)
        self.city = city
        self.charges: list[Charge] = []
        self.off: dict[str, str] = {}
        """Cards that a person has switched off, and why."""
        self.ahead = 0
        """The minutes by which our clock may have been ahead when it saw a stop; put right, it takes so much longer."""
        self.run(city.begin())
        self.auditor = Auditor(city)

    def work(self, beat: Beat) -> None:
        """Let a car charge and the workers work."""
        if beat.wh and self.open_charges:
            self._charge(self.open_charges[-1], beat.wh)
        if beat.trouble is not None:
            self.city.lago.config.faults.replace([fault_rule(beat.trouble, "/events/batch", 1)])
        for job in beat.jobs[:-1]:
            self.run(self.city.do(job))
        for job in beat.jobs[-1:]:
            self.run(self.city.do(job, steps=beat.steps, ending=beat.ending))

    @property
    def open_charges(self) -> list[Charge]:
        """Cars that still charge, as far as SteVe shows."""
        return [each for each in self.charges if each.is_open]

    @property
    def stopped_by_hand(self) -> list[Charge]:
        """Sessions that an operator has stopped in SteVe; their cars may still charge."""
        return [each for each in self.charges if each.stopped_by == "manual" and not each.gone]

    @initialize(
        mirrored=st.sampled_from((True, True, True, False)),
        cards=st.lists(st.sampled_from(CARDS), min_size=1, max_size=2),
    )
    def two_drivers(self, mirrored: bool, cards: list[str]) -> None:
        """Two customers with a subscription each, two cards, a tag that inherits; cars charge already."""
        steve, city = self.city.steve, self.city
        for box in BOXES:
            steve.add_charge_box(box)
        for card in CARDS[:2]:
            steve.add_tag(card, max_active_transaction_count=-1)
        steve.add_tag(CARDS[2], max_active_transaction_count=-1, parent_id_tag=CARDS[0])
        city.lago.seed({"customers": [{"external_id": customer} for customer in CUSTOMERS]})
        for customer, card in zip(CUSTOMERS, CARDS, strict=False):
            city.subscribe(SUBSCRIPTIONS[customer][0], STANDARD)
            self.run(city.link(card, customer))
        self.run(city.do("tag_sweep"))
        if mirrored:
            self.run(city.do("refresh"))
        for card, box in zip(cards, BOXES, strict=False):
            self._begin(card, box)

    @happens(card=st.sampled_from(CARDS), box=st.sampled_from(BOXES))
    def a_car_begins_to_charge(self, card: str, box: str) -> None:
        self._begin(card, box)

    @precondition(lambda self: self.open_charges)
    @happens(
        which=some,
        minutes=st.sampled_from((1, 16, 90)),
        wh=st.sampled_from((0, 1, 999, 4_000, 11_003)),
        arrives=st.sampled_from((1, 1, 1, 2, 0)),
    )
    def a_car_charges(self, which: int, minutes: int, wh: int, arrives: int) -> None:
        """Its meter value arrives now, now and again, or perhaps later."""
        self.run(self.city.pass_minutes(minutes))
        charge = self.open_charges[which % len(self.open_charges)]
        charge.samples.append(charge.charge(wh, self.city.clock.minute()))
        for _ in range(arrives):
            self.run(self.city.store_meter_values(charge.samples[-1:]))
        if arrives:
            charge.samples.pop()

    @precondition(lambda self: self.open_charges)
    @happens(which=some, first=st.sampled_from((4_000, 11_003)), second=st.sampled_from((1, 4_000)))
    def a_car_charges_and_stops(self, which: int, first: int, second: int) -> None:
        """Half of it is billed while it charges."""
        charge = self.open_charges[which % len(self.open_charges)]
        self._charge(charge, first)
        for job in ("live_poll", "bill_due"):
            self.run(self.city.do(job))
        self.run(self.city.pass_minutes(16))
        charge.charge(second, self.city.clock.minute())
        charge.stop(self.city)

    @precondition(lambda self: any(each.samples for each in self.charges))
    @happens(backwards=st.booleans(), twice=st.booleans(), lost=st.booleans())
    def late_meter_values_arrive(self, backwards: bool, twice: bool, lost: bool) -> None:
        """All but the first of each car, if that is lost; perhaps long after the stop."""
        for charge in self.charges:
            values, charge.samples = charge.samples[lost:], []
            for each in (values[::-1] if backwards else values) * (1 + twice):
                self.run(self.city.store_meter_values([each]))

    @precondition(lambda self: self.open_charges)
    @happens(which=some, other=st.sampled_from(OTHER_REGISTERS))
    def another_register_is_read(self, which: int, other: Sample) -> None:
        charge = self.open_charges[which % len(self.open_charges)]
        self.run(self.city.store_meter_values([charge.sample(charge.wh, other)]))

    @precondition(lambda self: self.open_charges)
    @happens(which=some)
    def a_reading_is_too_high(self, which: int) -> None:
        """Believable, and wrong."""
        charge = self.open_charges[which % len(self.open_charges)]
        self.run(self.city.pass_minutes(16))
        charge.charge(0, self.city.clock.minute())
        self.run(self.city.store_meter_values([charge.claim(6_000)]))

    @precondition(lambda self: self.open_charges)
    @happens(which=some)
    def the_station_stops(self, which: int) -> None:
        self.open_charges[which % len(self.open_charges)].stop(self.city)

    @precondition(lambda self: self.open_charges)
    @happens(which=some, off_by=st.sampled_from((0, -1, -2_500, 3_000, -100_000)), minutes=st.sampled_from((1, 20)))
    def an_operator_stops_in_steve_with_a_guess(self, which: int, off_by: int, minutes: int) -> None:
        """It stands after a while, if the station does not say otherwise by then."""
        self.open_charges[which % len(self.open_charges)].stop_by_hand(self.city, off_by)
        self.run(self.city.do("live_poll"))
        self.run(self.city.pass_minutes(minutes))

    @precondition(lambda self: self.stopped_by_hand)
    @happens(which=some)
    def the_station_stops_after_the_operator(self, which: int) -> None:
        self.stopped_by_hand[which % len(self.stopped_by_hand)].stop(self.city)

    @happens(card=st.sampled_from(CARDS[1:]), back=st.booleans())
    def a_tag_is_deleted_in_steve(self, card: str, back: bool) -> None:
        """Its transactions vanish with it; a tag that is added again brings none back."""
        if self.city.steve.state.tag(card) is not None and not any(each.hidden for each in self.charges):
            self.city.steve.delete_tag(card)
            for charge in self.charges:
                charge.gone = charge.gone or charge.card == card
        if back and self.city.steve.state.tag(card) is None:
            self.city.steve.add_tag(card, max_active_transaction_count=-1)

    @precondition(lambda self: self.open_charges)
    @happens(which=some)
    def a_transaction_is_not_visible_yet(self, which: int) -> None:
        self.open_charges[which % len(self.open_charges)].hide(self.city)

    @precondition(lambda self: any(each.hidden for each in self.charges))
    @happens()
    def everything_is_visible(self) -> None:
        self._show_everything()

    @happens(card=st.sampled_from(CARDS), customer=st.sampled_from(CUSTOMERS))
    def a_card_is_linked(self, card: str, customer: str) -> None:
        """Linked, or moved to another customer."""
        self.run(self.city.link(card, customer))

    @happens(card=st.sampled_from(CARDS), on=st.booleans(), reason=st.sampled_from(("operator", "reported_lost")))
    def a_card_is_switched(self, card: str, on: bool, reason: str) -> None:
        self.run(self.city.switch(card, on=on, reason=reason))
        linked = self.run(self.city.rows("SELECT FROM tag_mappings WHERE id_tag = $1", card))
        self.off.pop(card, None)
        if linked and not on:
            self.off[card] = reason

    @happens(subscription=st.sampled_from(sum(SUBSCRIPTIONS.values(), ())), plan=st.sampled_from(PLANS))
    def a_customer_subscribes_or_changes_the_plan(self, subscription: str, plan: str) -> None:
        self.city.subscribe(subscription, plan)

    @happens(subscription=st.sampled_from(sum(SUBSCRIPTIONS.values(), ())))
    def a_subscription_ends(self, subscription: str) -> None:
        running = self.city.active_subscription(subscription)
        if running is not None:
            self.city.lago.subscriptions.terminate(running)

    @happens(twice=st.booleans(), backwards=st.booleans(), lost=st.booleans())
    def webhooks_arrive(self, twice: bool, backwards: bool, lost: bool) -> None:
        self.run(self.city.lago.webhooks.settle())
        letters, self.city.letters = self.city.letters[lost:] * (1 + twice), []
        for letter in letters[::-1] if backwards else letters:
            self.run(self.city.deliver(letter))

    @happens(minutes=st.sampled_from((20, 24 * 60, 49 * 60, 12 * 24 * 60)))
    def time_passes(self, minutes: int) -> None:
        self.run(self.city.pass_minutes(minutes))
        self.city.lago.roll_over()

    @happens(minutes=st.sampled_from((-30, 30)))
    def lagos_clock_is_wrong(self, minutes: int) -> None:
        self.city.lago.config.clock.set(self.city.clock.now() + timedelta(minutes=minutes))

    @happens(fault=st.sampled_from(FAULTS), path=st.sampled_from(LAGO_PATHS), times=st.integers(1, 4))
    def lago_has_trouble(self, fault: Fault, path: str, times: int) -> None:
        self.city.lago.config.faults.replace([fault_rule(fault, path, times)])

    @happens(fault=st.sampled_from(FAULTS), path=st.sampled_from(STEVE_PATHS), times=st.integers(1, 4))
    def steve_has_trouble(self, fault: Fault, path: str, times: int) -> None:
        self.city.steve.faults.replace([fault_rule(fault, path, times)])

    @happens(partial=st.booleans())
    def lago_takes_the_good_events_of_a_bad_batch(self, partial: bool) -> None:
        self.city.lago.config.partial_batches = partial

    @happens(first=BEATS, second=BEATS)
    def the_workers_work(self, first: Beat, second: Beat) -> None:
        self.work(first)
        self.work(second)

    @precondition(lambda self: self.open_charges)
    @happens(steps=st.integers(0, 29), ending=st.sampled_from(Ending), again=st.booleans(), stops=st.booleans())
    def the_biller_is_interrupted(self, steps: int, ending: Ending, again: bool, stops: bool) -> None:
        self._interrupt("bill_due", steps, ending, again=again, stops=stops)

    @precondition(lambda self: self.open_charges)
    @happens(steps=st.integers(0, 19), ending=st.sampled_from(Ending), again=st.booleans(), stops=st.booleans())
    def the_sender_is_interrupted(self, steps: int, ending: Ending, again: bool, stops: bool) -> None:
        self._interrupt("send_due", steps, ending, again=again, stops=stops)

    @rule(job=st.sampled_from(SYNC_JOBS), fault=st.sampled_from(AWAY))
    def without_steve_nothing_is_concluded(self, job: str, fault: Fault) -> None:
        self._nothing_changes_without(self.city.steve.faults, job, fault)

    @rule(job=st.sampled_from(NEEDS_LAGO), fault=st.sampled_from(AWAY))
    def without_lago_nothing_is_concluded(self, job: str, fault: Fault) -> None:
        self._nothing_changes_without(self.city.lago.config.faults, job, fault)

    @happens(job=st.sampled_from(SIDE_BY_SIDE), steps=st.one_of(st.none(), st.integers(0, 29)))
    def two_workers_work_at_once(self, job: str, steps: int | None) -> None:
        """There is something to do for both."""
        for charge in self.open_charges:
            self._charge(charge, 11_003)
        if job in FLOW:
            for earlier in FLOW[: FLOW.index(job)]:
                self.run(self.city.do(earlier))
        self.run(self.city.do_twice_at_once(job, steps=steps, ending=Ending.KILLED))

    @happens(minutes=st.sampled_from((-10, -1, 10)))
    def our_clock_jumps(self, minutes: int) -> None:
        self.ahead += max(0, minutes)
        self.run(self.city.clock.jump(minutes))

    @invariant()
    def nobody_is_switched_on_by_itself(self) -> None:
        self.run(closing.who_was_switched_off_is_off(self.city, self.off))

    @invariant()
    def the_books_are_right(self) -> None:
        self.run(self.auditor.audit({each.transaction: each.most_wh - each.start_wh for each in self.charges}))

    def teardown(self) -> None:
        """Everything is repaired and settles; then the books are closed."""
        try:
            if not self.broken and self.charges:
                self._close_the_books()
        finally:
            self.runner.run(self.city.end())

    def _close_the_books(self) -> None:
        city = self.city
        self._show_everything()
        self.run(city.repair())
        for charge in self.open_charges:
            charge.stop(city)
        self._settle("run", "tag_sweep", "refresh")
        self.run(closing.every_session_is_known_and_ended(city, self.charges))
        self.run(closing.what_is_not_billed_says_why(city))
        self.run(closing.a_card_that_is_off_is_blocked(city))
        self.run(closing.billing_again_makes_no_new_event(city))

        self.off = {}
        for customer in CUSTOMERS:
            city.subscribe(SUBSCRIPTIONS[customer][0], STANDARD)
        self.run(city.do("refresh"))
        for card, customer in zip(CARDS, (*CUSTOMERS, CUSTOMERS[0]), strict=True):
            self.run(city.link(card, customer))
            self.run(city.switch(card, on=False, reason="operator"))
            self.run(city.switch(card, on=True))
        self._settle("tag_sweep")
        self.run(closing.everything_payable_is_paid(city))
        self.run(closing.a_card_that_is_on_may_charge(city))
        self.run(closing.every_webhook_had_one_effect(city))
        self.run(closing.nobody_hears_what_is_not_for_them(city))

    def _settle(self, *first: str) -> None:
        """All workers do all there is to do, while time enough passes for claims, back-offs and manual stops."""
        self.webhooks_arrive(Beat(), twice=False, backwards=False, lost=False)
        for job in first:
            self.run(self.city.do(job))
        self.run(self.city.pass_minutes(20 + self.ahead))
        for job in ("live_poll", "inbox", "bill_due", "bill_held", "send_due"):
            self.run(self.city.do(job))
        self.the_books_are_right()

    def _begin(self, card: str, box: str) -> None:
        """A register of its own each time, so that nobody's energy can pass for another's."""
        number = len(self.charges)
        self.charges.append(self.run(Charge.begin(self.city, card, box, number % 2 + 1, 1_000 + 100_000 * number)))

    def _charge(self, charge: Charge, wh: int) -> None:
        """Long enough for a slice, and its meter value arrives."""
        self.run(self.city.pass_minutes(16))
        self.run(self.city.store_meter_values([charge.charge(wh, self.city.clock.minute())]))

    def _interrupt(self, job: str, steps: int, ending: Ending, *, again: bool, stops: bool) -> None:
        """A worker is cut off with something to do; perhaps, once its claim has run out, another one after it."""
        charge = self.open_charges[-1]
        self._charge(charge, 11_003)
        if stops:
            charge.stop(self.city)
        for earlier in FLOW[: FLOW.index(job)]:
            self.run(self.city.do(earlier))
        self.run(self.city.do(job, steps=steps, ending=ending))
        if again:
            self.run(self.city.pass_minutes(2))
            self.run(self.city.do(job, steps=steps, ending=ending))

    def _show_everything(self) -> None:
        for charge in self.charges:
            charge.show(self.city)

    def _nothing_changes_without(self, faults: FaultPlan, job: str, fault: Fault) -> None:
        before = self.run(closing.conclusions(self.city))
        rules, faults.rules = faults.rules, [FaultRule(fault, seconds=0)]
        self.run(self.city.do(job))
        faults.rules = rules
        after = self.run(closing.conclusions(self.city))
        changed = {name: (was, after[name]) for name, was in before.items() if after[name] != was}
        assert not changed, f"{job} concluded from {fault}: {changed}"
