"""What happened becomes what people are told: the right ones, once, with a way to look closer."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from tests.integration.notifications.conftest import TellingWorld, finished, noticed

from notifier.notifications import rules
from polaris_common.events.catalogue import (
    OPERATORS,
    AccountViewed,
    Audience,
    BillingStopped,
    BooksDiffer,
    CardReportedLost,
    CardsSwitched,
    ComponentDown,
    ComponentRecovered,
    ReservationCancelled,
    SessionQuarantined,
    UsageLimitReached,
    user_audience,
)
from polaris_common.models import Role
from polaris_common.notifications.preferences import PreferenceRepository
from polaris_common.notifications.topics import Channel, Topic


async def test_a_driver_reads_what_a_session_came_to_and_operators_hear_nothing_of_it(world: TellingWorld) -> None:
    driver = await world.person()

    [told] = await world.tell(finished(driver))

    assert (told.kind, told.severity, told.user_id) == ("session.complete", "success", driver)
    assert (told.title, told.body) == ("Charging finished", "12.345 kWh at CP-1.")
    assert (told.source_type, told.source_id, told.source_url) == ("system", "1007", "/sessions/7")
    assert told.context["energyWh"] == 12_345


@pytest.mark.parametrize("stopped", [{"final": False}, {"final": True, "audience": Audience((OPERATORS,))}])
async def test_nobody_is_told_of_a_session_that_may_change_or_that_is_nobodys(
    world: TellingWorld, stopped: dict[str, Any]
) -> None:
    driver = await world.person()

    assert await world.tell(finished(driver, **stopped)) == []


async def test_the_stream_event_says_the_same_and_goes_to_the_driver_alone(world: TellingWorld) -> None:
    driver = await world.person()
    [told] = await world.tell(finished(driver))

    [event] = await world.announced()

    assert event.audience == [user_audience(driver)]
    assert event.payload == {
        "id": told.id,
        "kind": "session.complete",
        "severity": "success",
        "title": "Charging finished",
        "body": "12.345 kWh at CP-1.",
        "sourceType": "system",
        "sourceId": "1007",
        "sourceUrl": "/sessions/7",
        "adminUserId": str(driver),
        "createdAt": told.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


async def test_what_goes_to_all_operators_is_addressed_to_nobody_and_reaches_no_driver(world: TellingWorld) -> None:
    await world.person()
    await world.person(Role.ADMIN)

    [told] = await world.tell(BillingStopped(reason="missing", metric_code="kwh"))
    [event] = await world.announced()

    assert (told.kind, told.severity, told.user_id) == ("billing.stopped", "error", None)
    assert told.body == "Nothing is sent to Lago: the metric does not exist (kwh)."
    assert (event.audience, event.payload["adminUserId"], event.payload["sourceUrl"]) == ([OPERATORS], None, None)


async def test_what_happened_again_is_told_again_and_what_is_said_again_is_not(world: TellingWorld) -> None:
    driver = await world.person()
    invoice = noticed("lago_invoice_generated", "info", source_type="invoice", source_id="inv-1")
    trouble = noticed("lago_webhook_dispatch_disabled", "error")
    differs = BooksDiffer(audience=Audience((OPERATORS,)), kind="undelivered", subject="tx-1", difference_kwh="1.000")

    told = await world.tell(*(event for _ in range(3) for event in (finished(driver), invoice, trouble, differs)))

    kinds = [each.kind for each in told]
    assert sorted(kinds) == [
        "books_differ",
        "lago_invoice_generated",
        *["lago_webhook_dispatch_disabled"] * 3,
        "session.complete",
    ]


async def test_a_quarantine_and_a_zombie_are_told_apart_and_lead_to_the_session(world: TellingWorld) -> None:
    common = {"audience": Audience((OPERATORS,)), "charge_box_id": "CP-1", "connector_id": 1}
    told = await world.tell(
        SessionQuarantined(**common, session_id=1, transaction_id=11, reason="negative_energy"),
        SessionQuarantined(**common, session_id=2, transaction_id=12, reason="zombie_silent"),
    )

    assert [(each.kind, each.source_url) for each in told] == [
        ("session.quarantined", "/transactions/11"),
        ("session.zombie", "/transactions/12"),
    ]


async def test_a_cancelled_reservation_carries_what_the_app_shows(world: TellingWorld) -> None:
    driver = await world.person()
    [told] = await world.tell(
        ReservationCancelled(
            audience=Audience.operators_and(driver),
            reservation_id=5,
            charge_box_id="CP-1",
            connector_id=1,
            start_at_iso="2026-03-01T12:00:00.000Z",
            end_at_iso="2026-03-01T13:00:00.000Z",
            status="cancelled",
            reason="works on site",
        )
    )

    assert (told.kind, told.title, told.source_url) == (
        "reservation.cancelled",
        "Reservation cancelled",
        "/reservations/5",
    )
    assert told.body == "Your reservation at CP-1 does not hold any more: works on site."
    assert {"chargeBoxId", "reservationId", "startAtIso", "endAtIso", "reason"} <= told.context.keys()


async def test_a_lost_card_is_the_operators_business_with_the_drivers_words(world: TellingWorld) -> None:
    [told] = await world.tell(CardReportedLost(card_id=3, ocpp_tag_pk=33, reason="left on the bus"))

    assert (told.kind, told.severity, told.user_id, told.source_url) == ("card.lost", "warn", None, "/tags?linked=1")
    assert told.body == "It no longer charges: left on the bus."


async def test_a_driver_hears_once_a_day_that_an_operator_looked(world: TellingWorld) -> None:
    driver = await world.person()
    looked = AccountViewed(audience=Audience((user_audience(driver),)))

    assert [each.user_id for each in await world.tell(looked, looked)] == [driver]


async def test_somebody_who_is_gone_is_not_told_and_holds_nobody_up(world: TellingWorld) -> None:
    driver = await world.person()

    [told] = await world.tell(finished(uuid4(), 1), finished(driver, 2))

    assert told.user_id == driver


async def test_links_to_lago_need_its_address_and_ids_are_escaped(world: TellingWorld) -> None:
    told = await world.tell(
        noticed("lago_alert_triggered", source_type="alert", source_id="a/1"),
        noticed("lago_invoice_created", "info", source_type="invoice", source_id="inv/1?"),
    )

    assert [each.source_url for each in told] == ["https://lago.test/alerts/a%2F1", "/invoices/inv%2F1%3F"]


async def test_a_notice_that_no_rule_knows_is_told_all_the_same(world: TellingWorld) -> None:
    [told] = await world.tell(noticed("something_new", "error", source_id="x", detail="y"))

    assert (told.kind, told.severity, told.title, told.body) == (
        "something_new",
        "error",
        "something_new",
        "system x y",
    )


async def test_an_event_that_cannot_be_told_is_told_to_operators_and_stops_nobody(
    world: TellingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await world.person()
    await world.happen(finished(driver, 1), finished(driver, 2))
    await world.execute("UPDATE domain_events SET payload = payload - 'final' WHERE payload->>'sessionId' = '1'")

    told = await world.tell()

    assert [(each.kind, each.user_id) for each in told] == [("notification.failed", None), ("session.complete", driver)]
    assert len(await world.announced()) == 2


async def test_what_somebody_has_switched_off_does_not_ring_and_stays_in_the_archive(world: TellingWorld) -> None:
    driver, quiet, loud = await world.person(), await world.person(Role.ADMIN), await world.person(Role.ADMIN)
    async with world.database.unit_of_work() as uow:
        await PreferenceRepository(uow).switch(driver, {(Topic.CHARGING, Channel.IN_APP): False})
        await PreferenceRepository(uow).switch(quiet, {(Topic.BILLING_NOTES, Channel.IN_APP): False})

    told = await world.tell(finished(driver), noticed("lago_alert_triggered", source_type="alert"))

    assert len(told) == 2
    assert [event.audience for event in await world.announced()] == [[user_audience(loud)]]


async def test_cards_that_go_off_are_told_to_their_driver(world: TellingWorld) -> None:
    driver = await world.person()
    [told] = await world.tell(
        CardsSwitched(
            audience=Audience.operators_and(driver),
            active=False,
            reason="subscription_terminated",
            user_mapping_ids=[1, 2],
            external_customer_id="c",
        )
    )

    assert (told.kind, told.body) == (
        "cards.switched_off",
        "2 of your cards do not charge: the subscription has ended.",
    )


async def test_a_limit_of_usage_is_told_to_its_driver_once_a_day_each(world: TellingWorld) -> None:
    driver = await world.person()
    theirs = Audience.operators_and(driver)
    told = await world.tell(
        *(UsageLimitReached(audience=theirs, subscription="s-1", limit=limit) for limit in ("500", "1000", "500"))
    )

    assert [(each.kind, each.severity, each.user_id) for each in told] == [("usage.limit_reached", "warn", driver)] * 2


async def test_an_outage_and_its_end_are_told_by_name(world: TellingWorld) -> None:
    told = await world.tell(
        ComponentDown(component="steve", error="unreachable", since="2026-03-01T12:00:00.000Z"),
        ComponentRecovered(component="lago", told_at="2026-03-01T12:00:00.000Z"),
    )

    assert [(each.kind, each.severity, each.title) for each in told] == [
        ("steve_down", "error", "SteVe is away"),
        ("lago_recovered", "success", "Lago is back"),
    ]
    assert told[0].body == "It cannot be reached. Nothing is lost; it is looked for."


async def test_what_happened_keeps_its_time(world: TellingWorld) -> None:
    driver = await world.person()
    await world.happen(finished(driver))
    await world.execute("UPDATE domain_events SET created_at = created_at - interval '10 minutes'")

    [told] = await world.tell()

    assert 590 < (datetime.now(UTC) - told.created_at).total_seconds() < 700


async def test_what_happened_before_there_were_notifications_is_no_news(world: TellingWorld) -> None:
    driver = await world.person()
    await world.happen(finished(driver))
    await world.execute("UPDATE event_cursors SET seq = (SELECT last_seq FROM event_relay)")

    assert await world.tell() == []


async def test_how_far_telling_lags_behind_is_measured(world: TellingWorld) -> None:
    await world.happen(*(noticed("lago_alert_triggered") for _ in range(3)))

    await world.tell()
    behind = REGISTRY.get_sample_value("polaris_events_untold")
    await world.tell()  # its own events about notifications are in the log by now, unnumbered

    assert (behind, REGISTRY.get_sample_value("polaris_events_untold")) == (3, 0)


def test_rules_are_asked_about_every_event_that_has_one() -> None:
    assert {rule.event.type for rule in rules.RULES} == set(rules.HEARD)
