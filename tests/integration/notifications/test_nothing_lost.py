"""The notifier, Redis or the e-mail Worker is away for ten minutes: mails and notifications arrive once afterwards."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis
from tests.integration.notifications.conftest import TellingWorld, finished, noticed
from tests.support.mail import Mailbox
from tests.support.worker_processes import until

from notifier.notifications.mails import MailDesk
from notifier.notifications.service import Projector
from polaris_common.events.relay import EventRelay
from polaris_common.models import Role
from polaris_sim.faults import Fault, FaultRule

MINUTES = 10
SESSIONS = 3


@pytest.fixture
async def mailbox(world: TellingWorld) -> AsyncIterator[Mailbox]:
    """The Worker and the notifier's sender."""
    box = Mailbox(world.database, "a-secret-of-more-than-32-characters-")
    yield box
    await box.close()


async def _ten_minutes_of_charging(world: TellingWorld, driver: UUID, *, numbered: bool = True) -> None:
    """Sessions end and something goes wrong, all of it ten minutes ago or later."""
    for n in range(SESSIONS):
        event = finished(driver, await world.session(driver, n), transaction_id=1000 + n)
        if numbered:
            await world.happen(event)
        else:
            async with world.database.unit_of_work() as uow:
                uow.emit(event)
                uow.emit(noticed("lago_events_delayed", source_id=f"queue-{n}"))
    await world.execute(
        "UPDATE domain_events SET created_at = created_at - make_interval(mins => :minutes)", minutes=MINUTES
    )


async def _each_arrived_once(world: TellingWorld, mailbox: Mailbox, *, alerts: int = 0) -> None:
    mails = await mailbox.mails()
    told = await world.rows("SELECT kind FROM notifications")
    assert sorted(mail.category for mail in mails) == ["operator-alert"] * alerts + ["session-summary"] * SESSIONS
    assert [row.kind for row in told].count("session.complete") == SESSIONS
    again = Projector(world.database, MailDesk())
    await again.run()
    assert (len(await mailbox.mails()), len(await world.rows("SELECT 1 FROM notifications"))) == (len(mails), len(told))


async def test_after_ten_minutes_without_a_notifier_everything_arrives_once(
    world: TellingWorld, mailbox: Mailbox
) -> None:
    await _ten_minutes_of_charging(world, await world.person())
    assert await world.rows("SELECT 1 FROM notifications") == []

    await asyncio.gather(*(Projector(world.database, MailDesk()).run() for _ in range(2)))

    await _each_arrived_once(world, mailbox)


async def test_ten_minutes_without_redis_delay_nothing(world: TellingWorld, mailbox: Mailbox) -> None:
    driver, _ = await world.person(), await world.person(Role.ADMIN)
    nobody: Redis = Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2)
    relay = asyncio.create_task(EventRelay(world.database, nobody).run())
    await _ten_minutes_of_charging(world, driver, numbered=False)

    async def all_told() -> bool:
        await world.projector.run()
        return len(await world.rows("SELECT 1 FROM notifications")) == 2 * SESSIONS

    await until(all_told)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    await nobody.aclose()

    await _each_arrived_once(world, mailbox, alerts=1)


async def test_after_ten_minutes_without_the_email_worker_every_mail_arrives_once(
    world: TellingWorld, mailbox: Mailbox
) -> None:
    mailbox.simulator.config.faults.replace([FaultRule(Fault.ERROR_BEFORE, path="/send", status=503)])
    await _ten_minutes_of_charging(world, await world.person())
    await world.projector.run()

    for _ in range(MINUTES * 6):  # ten seconds at a time
        assert await mailbox.mails() == []
        await world.execute("UPDATE outgoing_mails SET next_attempt_at = next_attempt_at - interval '10 seconds'")
    attempts = [row.attempts for row in await world.queued()]
    mailbox.simulator.config.faults.replace([])
    await world.execute("UPDATE outgoing_mails SET next_attempt_at = now() WHERE sent_at IS NULL")

    assert min(attempts) >= 2
    await _each_arrived_once(world, mailbox)
