"""A worker that ends after its first step to the outside, its second, its third, up to its last."""

import asyncio

import pytest

from polaris_sim.lago import EventStore
from tests.chaos import closing
from tests.chaos.books import Auditor
from tests.chaos.charges import Charge
from tests.chaos.city import STANDARD, SUBSCRIPTIONS, City
from tests.chaos.mortal import Ending
from tests.chaos.work import FLOW

CUSTOMER, CARD, BOX = "anna", "CARD1", "CP-1"
MOST_STEPS = 200


async def somebody_charges(city: City) -> Charge:
    """One session with two readings of which the first is billed, then its stop, and a webhook that waits."""
    await city.begin()
    city.steve.add_charge_box(BOX)
    city.steve.add_tag(CARD, max_active_transaction_count=-1)
    city.lago.seed({"customers": [{"external_id": CUSTOMER}]})
    city.subscribe(SUBSCRIPTIONS[CUSTOMER][0], STANDARD)
    await city.link(CARD, CUSTOMER)
    await city.do("refresh")
    await city.lago.webhooks.settle()
    for letter in city.letters:
        await city.deliver(letter)
    charge = await Charge.begin(city, CARD, BOX, 1, 1_000)
    for wh in (5_500, 4_001):
        await city.pass_minutes(16)
        await city.store_meter_values([charge.charge(wh, city.clock.minute())])
        if wh == 5_500:
            for job in FLOW:
                await city.do(job)
    await city.pass_minutes(16)
    charge.charge(3, city.clock.minute())
    charge.stop(city)
    return charge


async def ends_after(city: City, job: str, steps: int, ending: Ending) -> bool:
    """Let ``job`` end there and everything go on; False when it had no more steps."""
    charge = await somebody_charges(city)
    most, auditor = {charge.transaction: charge.most_wh - charge.start_wh}, Auditor(city)
    await auditor.audit(most)
    for earlier in FLOW[: FLOW.index(job)] if job in FLOW else ():
        await city.do(earlier)
    await city.do(job, steps=steps, ending=ending)
    reached = city.worker_of(job).lifeline.reached
    await auditor.audit(most)

    await city.restart(everyone=True)
    await city.pass_minutes(5)
    for each in (*FLOW, "inbox"):
        await city.do(each)
    await auditor.audit(most)
    await closing.everything_payable_is_paid(city)
    assert city.accepted_wh() == {charge.transaction: 9_504}, f"after {steps} steps of {job}"
    await closing.every_webhook_had_one_effect(city)
    await city.end()
    return reached


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("job", "city"),
    [
        ("live_poll", EventStore.POSTGRES),
        ("bill_due", EventStore.POSTGRES),
        ("send_due", EventStore.POSTGRES),
        ("send_due", EventStore.CLICKHOUSE),
        ("inbox", EventStore.POSTGRES),
    ],
    indirect=["city"],
)
def test_wherever_a_worker_ends_the_next_one_brings_the_books_in_order(
    city: City, runner: asyncio.Runner, job: str
) -> None:
    for ending in Ending:
        steps = 0
        while runner.run(ends_after(city, job, steps, ending)):
            steps += 1
            assert steps < MOST_STEPS
        assert steps > 5, "the job had something to do"
