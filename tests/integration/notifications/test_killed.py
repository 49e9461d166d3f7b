"""Killed between any two things it does, reading the log in any pieces, the projector tells each thing once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chaos.mortal import Ending, Killed, Lifeline, MortalDatabase
from tests.integration.notifications.conftest import TellingWorld, finished, noticed

from notifier.notifications.mails import MailDesk
from notifier.notifications.service import Projector
from polaris_common.events.catalogue import AccountViewed, Audience, DomainEvent, FeatureFlagsChanged, user_audience
from polaris_common.models import Role
from polaris_common.settings import DatabaseSettings

STEPS = 60


@pytest.fixture
async def mortal(database_url: str) -> AsyncIterator[MortalDatabase]:
    """The database of a projector that dies when it is told to."""
    pool = MortalDatabase(DatabaseSettings(database_url=database_url), application_name="mortal")
    yield pool
    pool.lifeline = Lifeline()
    await pool.close()


async def _run(database: MortalDatabase, lifeline: Lifeline, *, batch: int = 200) -> None:
    """A projector that lives as long as ``lifeline``."""
    database.lifeline = lifeline
    try:
        await Projector(database, MailDesk()).run(batch=batch)
    except (Killed, ConnectionResetError):
        assert lifeline.reached


async def _told(world: TellingWorld) -> dict[str, Counter[Any]]:
    """Everything that was told, with how often."""
    notifications = await world.rows("SELECT dedupe_key, title, body, user_id FROM notifications")
    mails = await world.rows("SELECT recipient, template, context->>'values' AS says FROM outgoing_mails")
    announced = await world.announced()
    return {
        "notifications": Counter(map(tuple, notifications)),
        "mails": Counter(map(tuple, mails)),
        "announced": Counter((tuple(event.audience), event.payload["title"]) for event in announced),
    }


@pytest.mark.parametrize("ending", Ending)
async def test_killed_between_any_two_steps_it_tells_everything_once(
    world: TellingWorld, mortal: MortalDatabase, ending: Ending
) -> None:
    driver, _ = await world.person(), await world.person(Role.ADMIN)
    reached = True
    step = 0
    while reached:
        session = await world.session(driver, step)
        await world.happen(finished(driver, session), noticed("lago_events_delayed", source_id=f"queue-{step}"))
        lifeline = Lifeline(left=step, ending=ending)
        await _run(mortal, lifeline)
        await _run(mortal, Lifeline())
        reached, step = lifeline.reached, step + (1 if ending is Ending.KILLED else 3)
        assert step < STEPS

    told = await _told(world)
    rounds = len(await world.rows("SELECT id FROM charging_sessions"))
    assert rounds > 5
    assert len(told["notifications"]) == told["notifications"].total() == 2 * rounds
    assert told["announced"].total() == 2 * rounds
    summaries = [says for (_, template, says) in told["mails"] if template == "session_summary"]
    assert len(summaries) == rounds


def _event(kind: str, subject: int, people: list[UUID]) -> DomainEvent:
    person = people[subject % len(people)]
    match kind:
        case "finished":
            return finished(person, subject + 1)
        case "quarantined":
            return noticed("lago_event_quarantined", "error", source_type="event", source_id=f"tx-{subject}")
        case "invoice":
            return noticed("lago_invoice_created", "info", source_type="invoice", source_id=f"inv-{subject}")
        case "viewed":
            return AccountViewed(audience=Audience((user_audience(person),)))
        case _:
            return FeatureFlagsChanged(audience=Audience(("public",)), keys=["nobody is told"])


happenings = st.lists(
    st.tuples(st.sampled_from(["finished", "quarantined", "invoice", "viewed", "nothing"]), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)
deaths = st.lists(st.tuples(st.integers(1, 5), st.integers(3, 40)), min_size=2, max_size=6)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(happened=happenings, lives=deaths, last_batch=st.integers(1, 20))
async def test_in_any_pieces_and_with_any_deaths_the_same_is_told_once(
    world: TellingWorld,
    mortal: MortalDatabase,
    happened: list[tuple[str, int]],
    lives: list[tuple[int, int]],
    last_batch: int,
) -> None:
    people = await _people(world)
    await world.happen(*(_event(kind, subject, people) for kind, subject in happened))

    await _run(mortal, Lifeline())
    at_once = await _told(world)
    await _unsay(world)
    for batch, steps in lives:
        await _run(mortal, Lifeline(left=steps), batch=batch)
    await _run(mortal, Lifeline(), batch=last_batch)

    assert await _told(world) == at_once
    await world.execute("DELETE FROM domain_events")
    await _unsay(world)


async def _people(world: TellingWorld) -> list[UUID]:
    """The same three drivers with four sessions in every example, and an operator."""
    known = [row.id for row in await world.rows("SELECT id FROM users WHERE role = 'customer' ORDER BY email")]
    if not known:
        known = [await world.person() for _ in range(3)]
        await world.person(Role.ADMIN)
        for n in range(4):
            await world.session(known[n % 3], n)
    return known


async def _unsay(world: TellingWorld) -> None:
    """Nobody has been told anything."""
    await world.execute("DELETE FROM domain_events WHERE type = 'notification.created'")
    await world.execute("DELETE FROM notifications")
    await world.execute("DELETE FROM outgoing_mails")
    await world.execute(
        "UPDATE event_cursors SET seq = coalesce((SELECT min(seq) - 1 FROM domain_events WHERE seq IS NOT NULL),"
        " (SELECT last_seq FROM event_relay))"
    )


async def test_projectors_side_by_side_tell_everything_once(world: TellingWorld) -> None:
    driver = await world.person()
    await world.happen(*(finished(driver, n) for n in range(30)))

    await asyncio.gather(*(Projector(world.database, MailDesk()).run(batch=3) for _ in range(4)))

    assert len(await world.tell()) == len(await world.announced()) == 30
