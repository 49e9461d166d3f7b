"""Mails leave the queue: once if possible, twice rather than never, and not for ever."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, text
from tests.support.mail import Mailbox

from notifier.mail.service import MailSender
from polaris_common.db import Database
from polaris_common.email.dead_letters import dead_mails, revive
from polaris_common.email.queue import queue_mail
from polaris_common.email.templates import (
    AccountInactive,
    AccountReactivated,
    CardLost,
    Energy,
    MagicLink,
    MailContent,
    Money,
    SessionSummary,
    TokenLink,
)
from polaris_common.email.transport import Delivery, Mail
from polaris_common.ids import new_public_id
from polaris_common.models import DomainEventRow, OneTimeToken, OutgoingMail, Role, TokenPurpose, User
from polaris_sim.faults import Fault, FaultRule

LINK = TokenLink(
    "https://polaris.test/auth/verify?token=", TokenPurpose.MAGIC_LINK, timedelta(minutes=15), Role.CUSTOMER
)
SIGN_IN = MagicLink(LINK)
NEWS = AccountReactivated()


@pytest.fixture
async def mailbox(database: Database) -> AsyncIterator[Mailbox]:
    box = Mailbox(database, "a-secret-of-more-than-32-characters-")
    yield box
    await box.close()


async def _person(database: Database, email: str, role: Role = Role.CUSTOMER) -> None:
    async with database.unit_of_work() as uow:
        await uow.execute(insert(User).values(public_id=new_public_id(), email=email, role=role))


async def _queue(database: Database, email: str = "ann@example.org", content: MailContent = SIGN_IN) -> None:
    async with database.unit_of_work() as uow:
        await queue_mail(uow, content, email)


async def _row(database: Database) -> OutgoingMail:
    async with database.unit_of_work() as uow:
        row: OutgoingMail = (await uow.execute(select(OutgoingMail))).scalar_one()
        return row


async def _due_again(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow.execute(text("UPDATE outgoing_mails SET next_attempt_at = now()"))


async def _minutes_pass(database: Database, mailbox: Mailbox, minutes: float) -> None:
    """For the queue and for the Worker."""
    mailbox.simulator.config.clock.advance(minutes * 60)
    async with database.unit_of_work() as uow:
        await uow.execute(
            text(
                "UPDATE outgoing_mails SET next_attempt_at = next_attempt_at - make_interval(secs => :s),"
                " handed_at = handed_at - make_interval(secs => :s)"
            ),
            {"s": minutes * 60},
        )


def _fault(mailbox: Mailbox, fault: Fault, *, times: int | None = None, status: int = 503, seconds: float = 1) -> None:
    rule = FaultRule(fault, path="/send", times=times, status=status, seconds=seconds)
    mailbox.simulator.config.faults.replace([rule])


async def test_a_mail_arrives_with_a_text_and_an_html_version_of_the_same(database: Database, mailbox: Mailbox) -> None:
    await _person(database, "ann@example.org")
    await _queue(database, "Ann@Example.org")

    [mail] = await mailbox.mails()

    assert (mail.to, mail.sender, mail.category) == ("Ann@Example.org", "Polaris <noreply@polaris.test>", "magic-link")
    assert mail.subject == "Sign in to Polaris Express"
    assert (await mailbox.link()) in mail.html.replace("&amp;", "&")
    assert "\r\n" in mail.text
    assert "within 15 minutes" in mail.text
    assert "within 15 minutes" in mail.html


async def test_what_operators_get_comes_from_their_own_sender_and_leads_to_their_own_host(
    database: Database, mailbox: Mailbox
) -> None:
    lost = CardLost(
        tag_pk=17, card="<Ann's & Bob's>", driver=None, reported_at=datetime(2026, 3, 1, 12, tzinfo=UTC), reason=None
    )
    await _queue(database, "op@example.org", lost)

    [mail] = await mailbox.mails()

    assert mail.sender == "Polaris <admin-noreply@polaris.test>"
    assert await mailbox.link() == "https://manage.polaris.test/tags/17"
    assert "<Ann's & Bob's>" in mail.text
    assert "&lt;Ann&#39;s &amp; Bob&#39;s&gt;" in mail.html


async def test_a_session_summary_speaks_the_drivers_language_in_their_time_zone(
    database: Database, mailbox: Mailbox
) -> None:
    began = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    summary = SessionSummary(
        session_id=4711,
        charger="Nord 1",
        started_at=began,
        ended_at=began + timedelta(hours=1, minutes=5),
        energy=Energy(wh=12_345),
        cost=Money(minor=1_230, currency="EUR"),
        card=None,
    )
    async with database.unit_of_work() as uow:
        await queue_mail(uow, summary, "ann@example.org", locale="de-AT", time_zone="Europe/Vienna")

    [mail] = await mailbox.mails()

    assert await mailbox.link() == "https://polaris.test/sessions/4711"
    for said in (
        "12,345\N{NO-BREAK SPACE}kWh",
        "€\N{NO-BREAK SPACE}12,30",
        "02.03.2026, 00:30 CET",
        "1 Stunde 5 Minuten",
    ):
        assert said in mail.text
        assert said in mail.html
    assert "Karte" not in mail.text


async def test_a_button_that_would_lead_elsewhere_is_not_sent(database: Database, mailbox: Mailbox) -> None:
    await _person(database, "ann@example.org")
    elsewhere = replace(LINK, address="https://polaris.test.example.com/?token=")
    await _queue(database, content=MagicLink(elsewhere))

    assert await mailbox.mails() == []
    assert (await _row(database)).dead_at is not None


async def test_a_mail_that_was_rolled_back_is_never_sent(database: Database, mailbox: Mailbox) -> None:
    async with database.unit_of_work() as uow:
        await queue_mail(uow, SIGN_IN, "ann@example.org")
        await uow.session.rollback()

    assert await mailbox.mails() == []


async def test_nobody_gets_a_link_for_another_role_and_nothing_is_left_of_the_try(
    database: Database, mailbox: Mailbox
) -> None:
    await _person(database, "op@example.org", Role.ADMIN)
    for email in ("op@example.org", "nobody@example.org"):
        await _queue(database, email)

    assert await mailbox.mails() == []
    async with database.unit_of_work() as uow:
        mails = await uow.session.scalar(select(func.count()).select_from(OutgoingMail))
        tokens = await uow.session.scalar(select(func.count()).select_from(OneTimeToken))
    assert (mails, tokens) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        *((Fault.ERROR_BEFORE, status) for status in (401, 404, 429, 500, 503)),
        (Fault.HTML_502, 502),
        (Fault.RESET, 0),
    ],
)
async def test_a_worker_in_trouble_gets_it_again_later(
    database: Database, mailbox: Mailbox, fault: Fault, status: int
) -> None:
    await _person(database, "ann@example.org")
    await _queue(database)
    _fault(mailbox, fault, times=1, status=status)

    first = list(await mailbox.mails())
    waiting = await _row(database)
    too_early = list(await mailbox.mails())
    await _due_again(database)
    then = await mailbox.mails()

    sent = await _row(database)
    assert (first, waiting.attempts, waiting.sent_at, too_early) == ([], 1, None, [])
    assert (len(then), sent.attempts, sent.context, sent.sent_at is not None) == (1, 2, {}, True)


async def test_an_answer_that_is_lost_sends_it_twice_rather_than_never(database: Database, mailbox: Mailbox) -> None:
    await _person(database, "ann@example.org")
    await _queue(database)
    _fault(mailbox, Fault.RESET_AFTER, times=1)

    await mailbox.sender.send_due()
    await _due_again(database)

    assert len(await mailbox.mails()) == 2
    assert (await _row(database)).sent_at is not None


async def test_a_worker_that_is_away_for_hours_costs_no_mail(database: Database, mailbox: Mailbox) -> None:
    await _queue(database, content=NEWS)
    _fault(mailbox, Fault.ERROR_BEFORE)
    for _ in range(20):
        await mailbox.sender.send_due()
        await _due_again(database)
    waiting = await _row(database)
    mailbox.simulator.config.faults.replace([])

    mails = await mailbox.mails()

    assert (waiting.attempts, waiting.dead_at, waiting.last_error) == (20, None, "503")
    assert len(mails) == 1


async def test_after_a_day_of_trying_it_is_given_up_and_an_operator_can_have_it_tried_again(
    database: Database, mailbox: Mailbox
) -> None:
    await _queue(database, content=NEWS)
    _fault(mailbox, Fault.ERROR_BEFORE)
    async with database.unit_of_work() as uow:
        await uow.execute(text("UPDATE outgoing_mails SET attempts = 11, created_at = now() - interval '25 hours'"))
    await mailbox.sender.send_due()
    dead = await _row(database)
    mailbox.simulator.config.faults.replace([])
    async with database.unit_of_work() as uow:
        listed = [mail.id for mail in await dead_mails(uow, limit=10)]
        revived = await revive(uow, dead.id)

    mails = await mailbox.mails()

    assert (dead.attempts, dead.dead_at is not None, dead.last_error) == (12, True, "503")
    assert (listed, revived, len(mails)) == ([dead.id], 1, 1)
    assert (await _row(database)).context == {}


async def test_the_pauses_grow(database: Database, mailbox: Mailbox) -> None:
    await _queue(database, content=NEWS)
    _fault(mailbox, Fault.ERROR_BEFORE)
    pauses = []
    for attempts in (0, 10):
        async with database.unit_of_work() as uow:
            await uow.execute(text("UPDATE outgoing_mails SET attempts = :n, next_attempt_at = now()"), {"n": attempts})
        await mailbox.sender.send_due()
        async with database.unit_of_work() as uow:
            left = text("SELECT extract(epoch FROM next_attempt_at - now()) FROM outgoing_mails")
            pauses.append(float((await uow.execute(left)).scalar_one()))

    assert 5 < pauses[0] <= 20
    assert 5 < pauses[1] <= 910


async def test_what_the_worker_will_never_take_is_given_up_at_once(database: Database, mailbox: Mailbox) -> None:
    await _queue(database, content=NEWS)
    mailbox.simulator.config.allowed_senders = ("somebody@else.test",)

    await mailbox.sender.send_due()

    row = await _row(database)
    assert (row.attempts, row.dead_at is not None, row.last_error) == (1, True, "403 sender_not_allowed")


async def test_operators_are_told_of_a_mail_that_was_given_up_but_not_whose_it_was(
    database: Database, mailbox: Mailbox
) -> None:
    await _queue(database, content=NEWS)
    mailbox.simulator.config.allowed_senders = ("somebody@else.test",)

    await mailbox.sender.send_due()

    async with database.unit_of_work() as uow:
        [event] = (await uow.execute(select(DomainEventRow))).scalars()
    assert (event.type, event.payload["kind"]) == ("operator.notice", "mail_given_up")
    assert (event.payload["sourceId"], event.payload["detail"]) == ("account-reactivated", "403 sender_not_allowed")
    assert "ann" not in str(event.payload)


async def test_a_burst_for_one_recipient_waits_its_turn_and_holds_up_nobody_else(
    database: Database, mailbox: Mailbox
) -> None:
    for _ in range(12):
        await _queue(database, "Ann@example.org", NEWS)
    await _queue(database, "ann@example.org", AccountInactive())
    await _queue(database, "bob@example.org", NEWS)

    at_once = [(mail.to.lower(), mail.category) for mail in await mailbox.mails()]
    passes = 0
    while len(mailbox.simulator.mails) < 14 and (passes := passes + 1) < 4:
        await _minutes_pass(database, mailbox, 10.2)
        await mailbox.sender.send_due()

    news = ("ann@example.org", NEWS.category)
    assert (at_once.count(news), len(at_once)) == (5, 7)
    assert (len(mailbox.simulator.mails), passes, mailbox.simulator.refusals) == (14, 2, {})
    async with database.unit_of_work() as uow:
        tries = set((await uow.execute(select(OutgoingMail.attempts))).scalars())
    assert tries == {1}


async def test_two_senders_keep_one_recipients_limit_together(database: Database, mailbox: Mailbox) -> None:
    for _ in range(9):
        await _queue(database, content=NEWS)

    await asyncio.gather(*(mailbox.sender.send_due() for _ in range(3)))

    assert (len(mailbox.simulator.mails), mailbox.simulator.refusals) == (5, {})


async def test_a_mail_that_nobody_can_write_does_not_stop_the_others(database: Database, mailbox: Mailbox) -> None:
    async with database.unit_of_work() as uow:
        values = {"recipient": "ann@example.org", "category": "x", "context": {"values": {}}}
        await uow.execute(insert(OutgoingMail).values(template="of-another-version", **values))
        await uow.execute(insert(OutgoingMail).values(template="magic_link", **values))
    await _queue(database, content=NEWS)

    assert len(await mailbox.mails()) == 1


async def test_two_senders_send_each_mail_once(database: Database, mailbox: Mailbox) -> None:
    for number in range(6):
        await _queue(database, f"driver-{number}@example.org", content=NEWS)

    await asyncio.gather(*(mailbox.sender.send_due() for _ in range(3)))

    assert len(mailbox.simulator.mails) == len({mail.to for mail in mailbox.simulator.mails}) == 6


async def test_a_sender_that_died_with_a_mail_in_hand_loses_nothing(database: Database, mailbox: Mailbox) -> None:
    await _person(database, "ann@example.org")
    await _queue(database)
    _fault(mailbox, Fault.SLOW, seconds=30)
    dying = asyncio.create_task(mailbox.sender.send_due())
    while not (await _row(database)).attempts:  # noqa: ASYNC110 - a row in the database
        await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    mailbox.simulator.config.faults.replace([])

    leased = list(await mailbox.mails())
    await _due_again(database)

    assert (leased, len(await mailbox.mails())) == ([], 1)


class _Outage:
    """A transport during which the database goes away."""

    async def send(self, mail: Mail) -> Delivery:
        raise ConnectionResetError

    async def close(self) -> None:
        """Nothing is open."""


async def test_an_outage_is_raised_as_what_it_is_and_costs_no_mail(database: Database, mailbox: Mailbox) -> None:
    for number in range(3):
        await _queue(database, f"driver-{number}@example.org", NEWS)

    with pytest.raises(ConnectionResetError):
        await MailSender(database, _Outage(), mailbox.sender._writer).send_due()

    await _due_again(database)
    assert len(await mailbox.mails()) == 3


async def test_finished_mails_are_forgotten_after_a_month(database: Database, mailbox: Mailbox) -> None:
    for _ in range(2):
        await _queue(database, content=NEWS)
    await mailbox.mails()
    await _queue(database, content=NEWS)
    async with database.unit_of_work() as uow:
        await uow.execute(text("UPDATE outgoing_mails SET created_at = now() - interval '31 days'"))

    await mailbox.sender.forget_old()

    assert (await _row(database)).sent_at is None
