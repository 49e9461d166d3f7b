"""What Lago refuses: the culprit waits for a person, and nobody's energy waits with it."""

from collections.abc import Sequence

import pytest
from tests.support.world import World

from polaris_common.lago import LagoClient, LagoRefused


async def _five_events(world: World) -> str:
    """Five events of 100 to 500 Wh, not sent yet; the subscription."""
    driver = await world.driver()
    for wh in (100, 200, 300, 400, 500):
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    return driver.subscription


@pytest.mark.parametrize(
    "refusal",
    [
        LagoRefused(400, None, {}),
        LagoRefused(413, None, {}),
        LagoRefused(422, "validation_errors", {}),
        LagoRefused(422, "validation_errors", {"properties": ["invalid"]}),
        LagoRefused(422, "validation_errors", {"400": {"code": ["invalid"]}}),
    ],
    ids=lambda refusal: f"{refusal.status}-{refusal.details}",
)
async def test_a_batch_refused_without_saying_which_event_is_meant_is_halved_until_the_culprit_is_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, refusal: LagoRefused
) -> None:
    subscription = await _five_events(world)
    send, batches = LagoClient.send_events, list[int]()

    async def refuse(lago: LagoClient, bodies: Sequence[str]) -> None:
        batches.append(len(bodies))
        if any('"value":"0.300"' in body for body in bodies):
            raise refusal
        await send(lago, bodies)

    monkeypatch.setattr(LagoClient, "send_events", refuse)
    await world.deliver()
    await world.deliver()
    (refused,) = await world.rows("SELECT body, last_error FROM lago_events WHERE status <> 'delivered'")
    assert '"value":"0.300"' in refused.body
    assert str(refusal.status) in refused.last_error
    assert world.billed_wh(subscription) == 1_200
    assert batches[0] == 5
    assert len(batches) <= 7
    notice = await world.row("SELECT payload FROM domain_events WHERE type = 'operator.notice'")
    assert (notice.payload["kind"], notice.payload["detail"]) == ("lago_event_quarantined", "events=1")


@pytest.mark.parametrize("status", [404, 405, 409, 415])
async def test_an_answer_that_says_nothing_about_events_blames_none_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Such as a proxy's, or an address that is not Lago's."""
    subscription = await _five_events(world)
    with monkeypatch.context() as patch:

        async def refuse(*_: object) -> None:
            raise LagoRefused(status, None, {})

        patch.setattr(LagoClient, "send_events", refuse)
        await world.deliver()
    assert {row.status for row in await world.rows("SELECT status FROM lago_events")} == {"pending"}
    await world.deliver()
    assert world.billed_wh(subscription) == 1_500


@pytest.mark.parametrize("partial", [True, False], ids=["before December 2025", "since"])
async def test_a_server_that_keeps_the_good_part_of_a_refused_batch_counts_it_once(
    either_store: World, partial: bool
) -> None:
    world = either_store
    world.lago.config.partial_batches = partial
    subscription = await _five_events(world)
    for offset in (1, 3):
        known = await world.row("SELECT body::jsonb AS body FROM lago_events ORDER BY id OFFSET :n LIMIT 1", n=offset)
        world.lago.record_event(known.body)
    await world.deliver()
    assert {row.status for row in await world.rows("SELECT status FROM lago_events")} == {"delivered"}
    assert world.billed_wh(subscription) == 1_500
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_a_duplicate_that_is_faulty_besides_is_no_delivered_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an event whose sole fault is that Lago has it already counts as delivered."""
    await _five_events(world)
    both = {"transaction_id": ["value_already_exist"], "timestamp": ["invalid_format"]}
    refusals = [LagoRefused(422, "validation_errors", {"0": both, "4": {"transaction_id": ["value_already_exist"]}})]
    send = LagoClient.send_events

    async def refuse(lago: LagoClient, bodies: Sequence[str]) -> None:
        if refusals:
            raise refusals.pop()
        await send(lago, bodies)

    monkeypatch.setattr(LagoClient, "send_events", refuse)
    await world.deliver()
    statuses = [row.status for row in await world.rows("SELECT status FROM lago_events ORDER BY id")]
    assert statuses == ["quarantined", *["delivered"] * 4]
