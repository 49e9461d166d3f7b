"""Mails that go with notifications: to those who want them, with the whole truth, in their language and zone."""

from typing import Any

import pytest
from sqlalchemy import insert
from tests.integration.notifications.conftest import NOON, TellingWorld, finished, noticed

from notifier.notifications.mails import MailDesk
from polaris_common.events.catalogue import (
    Audience,
    CardReportedLost,
    CardsSwitched,
    InvoiceUpdated,
    ReservationCancelled,
)
from polaris_common.models import LagoCustomer, LagoInvoice, Reservation, Role, TagMapping
from polaris_common.notifications.preferences import PreferenceRepository
from polaris_common.notifications.topics import Channel, Topic


async def _add(world: TellingWorld, model: Any, **values: Any) -> Any:
    async with world.database.unit_of_work() as uow:
        return (await uow.execute(insert(model).values(values).returning(model))).scalar_one()


def _switched(user_id: Any, *mappings: int, active: bool) -> CardsSwitched:
    return CardsSwitched(
        audience=Audience.operators_and(user_id),
        active=active,
        reason="subscription_terminated",
        user_mapping_ids=list(mappings),
        external_customer_id="c",
    )


async def test_a_session_summary_has_the_whole_energy_and_names_as_people_know_them(world: TellingWorld) -> None:
    driver = await world.person()
    await world.execute(
        "INSERT INTO chargers (charge_box_id, public_id, friendly_name) VALUES ('CP-1', 'x', 'Car park north')"
    )
    card = await _add(world, TagMapping, id_tag="TAG", display_name="Blue card", user_id=driver)
    session = await world.session(driver, tag_mapping_id=card.id)

    await world.tell(finished(driver, session))

    [mail] = await world.queued()
    assert (mail.template, mail.recipient) == ("session_summary", "person1@example.org")
    values = mail.context["values"]
    assert values["energy"] == {"wh": 12_345}
    assert (values["charger"], values["card"], values["cost"]) == ("Car park north", "Blue card", None)
    assert values["session_id"] == session


async def test_a_mail_is_written_in_the_language_and_zone_that_lago_has(world: TellingWorld) -> None:
    driver = await world.person(lago_customer_external_id="customer-1")
    payload = {"timezone": "Europe/Berlin", "billing_configuration": {"document_locale": "de"}}
    await _add(world, LagoCustomer, lago_id="l", external_id="customer-1", timezone="Europe/Berlin", payload=payload)

    await world.tell(finished(driver, await world.session(driver)))

    [mail] = await world.queued()
    assert (mail.locale, mail.time_zone) == ("de", "Europe/Berlin")


async def test_a_zone_that_there_is_not_is_left_to_the_installation(world: TellingWorld) -> None:
    driver = await world.person(lago_customer_external_id="customer-1")
    await _add(
        world, LagoCustomer, lago_id="l", external_id="customer-1", timezone="UTC", payload={"timezone": "Mars/Base"}
    )

    await world.tell(finished(driver, await world.session(driver)))

    assert (await world.queued())[0].time_zone is None


async def test_a_mail_comes_once_however_often_the_event_does(world: TellingWorld) -> None:
    driver = await world.person()
    session = await world.session(driver)

    await world.tell(finished(driver, session), finished(driver, session))
    await world.tell(finished(driver, session))

    assert len(await world.queued()) == 1


async def test_nobody_gets_mail_who_does_not_want_it_or_has_no_address(world: TellingWorld) -> None:
    unwilling, without = await world.person(), await world.person(email=None)
    async with world.database.unit_of_work() as uow:
        await PreferenceRepository(uow).switch(unwilling, {(Topic.CHARGING, Channel.EMAIL): False})

    sessions = [await world.session(who, n) for n, who in enumerate((unwilling, without))]
    told = await world.tell(finished(unwilling, sessions[0]), finished(without, sessions[1]))

    assert (len(told), await world.queued()) == (2, [])


async def test_operators_who_want_it_get_alerts_about_their_topics(world: TellingWorld) -> None:
    await world.person()
    await world.person(Role.ADMIN)
    eager, unwilling = await world.person(Role.ADMIN), await world.person(Role.ADMIN)
    async with world.database.unit_of_work() as uow:
        await PreferenceRepository(uow).switch(eager, {(Topic.SESSIONS, Channel.EMAIL): True})
        await PreferenceRepository(uow).switch(unwilling, {(Topic.BILLING_TROUBLE, Channel.EMAIL): False})

    await world.tell(
        noticed("auto_stop_failed", "error", source_type="session", source_id="7", detail="no_answer"),
        noticed("lago_events_delayed", source_id="lago-events", detail="events=5"),
    )

    mails = [(mail.recipient, mail.context["values"]["path"]) for mail in await world.queued()]
    assert sorted(mails) == [
        ("person2@example.org", "/notifications"),
        ("person3@example.org", "/notifications"),
        ("person3@example.org", "/transactions/7"),
    ]


async def test_a_flood_of_one_kind_of_alert_is_one_mail_an_hour(world: TellingWorld) -> None:
    await world.person(Role.ADMIN)
    trouble = [noticed("lago_event_quarantined", "error", source_type="event", source_id=f"tx-{n}") for n in range(5)]

    told = await world.tell(*trouble)
    first = len(await world.queued())
    await world.execute("UPDATE notifications SET created_at = created_at - interval '61 minutes'")
    await world.tell(trouble[0])

    assert (len(told), first, len(await world.queued())) == (5, 1, 2)


async def test_a_lost_card_is_mailed_to_operators_with_the_drivers_words(world: TellingWorld) -> None:
    driver = await world.person(name="Ann")
    await world.person(Role.ADMIN)
    card = await _add(world, TagMapping, id_tag="04A1B2C3", ocpp_tag_pk=33, display_name="Blue", user_id=driver)

    await world.tell(CardReportedLost(card_id=card.id, ocpp_tag_pk=33, user_id=driver, reason="left on the bus"))

    [mail] = await world.queued()
    values = mail.context["values"]
    assert (mail.template, mail.recipient) == ("card_lost", "person2@example.org")
    assert (values["card"], values["driver"], values["reason"]) == ("Blue", "Ann", "left on the bus")
    assert "04A1B2C3" not in str(mail.context)


async def test_an_invoice_is_mailed_when_it_is_final_and_only_if_it_says_what_it_must(world: TellingWorld) -> None:
    driver = await world.person()
    common = {"issuing_date": NOON.date(), "currency": "EUR", "payment_overdue": False, "status": "finalized"}
    payload = {"payment_due_date": "2026-03-31"}
    await _add(world, LagoInvoice, lago_id="i1", number="A-1", total_amount_cents=1230, payload=payload, **common)
    await _add(world, LagoInvoice, lago_id="i2", payload={}, **common)

    def said(invoice: str, status: str, webhook: str = "created") -> InvoiceUpdated:
        audience = Audience.operators_and(driver)
        return InvoiceUpdated(audience=audience, invoice_id=invoice, status=status, webhook_type=f"invoice.{webhook}")

    told = await world.tell(
        said("i1", "draft", "drafted"),
        said("i1", "finalized"),
        said("i1", "finalized", "generated"),
        said("i2", "finalized"),
        said("an old one", "finalized", "payment_overdue"),
    )

    [mail] = await world.queued()
    assert [each.source_id for each in told] == ["i1", "i2"]
    assert mail.context["values"]["total"] == {"minor": 1230, "currency": "EUR"}
    assert (mail.context["values"]["number"], mail.context["values"]["due_on"]) == ("A-1", "2026-03-31")


async def test_a_cancelled_reservation_is_mailed_with_its_times(world: TellingWorld) -> None:
    driver = await world.person()
    row = await _add(
        world,
        Reservation,
        charge_box_id="CP-1",
        connector_id=1,
        ocpp_tag_pk=1,
        id_tag="TAG",
        user_id=driver,
        start_at=NOON,
        end_at=NOON.replace(hour=13),
        status="cancelled",
        reason="works",
    )

    await world.tell(
        ReservationCancelled(
            audience=Audience.operators_and(driver),
            reservation_id=row.id,
            charge_box_id="CP-1",
            connector_id=1,
            start_at_iso="2026-03-01T12:00:00.000Z",
            end_at_iso="2026-03-01T13:00:00.000Z",
            status="cancelled",
            reason="works",
        )
    )

    [mail] = await world.queued()
    assert (mail.template, mail.context["values"]["reason"]) == ("reservation_cancelled", "works")


async def test_a_driver_is_mailed_when_the_last_card_goes_off_and_when_one_is_back(world: TellingWorld) -> None:
    driver = await world.person()
    kept = await _add(world, TagMapping, id_tag="A", user_id=driver)

    await world.tell(_switched(driver, 99, active=False))
    with_another_card = len(await world.queued())
    await world.execute("UPDATE tag_mappings SET is_active = false, deactivation_reason = 'operator'")
    await world.tell(_switched(driver, kept.id, active=False))
    await world.execute("UPDATE tag_mappings SET is_active = true, deactivation_reason = NULL")
    await world.tell(_switched(driver, kept.id, active=True))

    assert with_another_card == 0
    assert [mail.template for mail in await world.queued()] == ["account_inactive", "account_reactivated"]


async def test_a_mail_that_cannot_be_made_costs_nobody_the_notification(
    world: TellingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(MailDesk, "queue", broken)
    driver = await world.person()

    assert [told.kind for told in await world.tell(finished(driver))] == ["session.complete"]
