"""Notifications as their readers see them: each their own, and what one of them does changes nobody else's list."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld

from gateway.housekeeping.service import clean_up
from polaris_common.clock import SystemClock
from polaris_common.models import DomainEventRow, Role
from polaris_common.notifications.repository import NewNotification, NotificationRepository
from polaris_common.notifications.topics import Severity, SourceType, Topic

ADMIN, CUSTOMER = "/api/admin/notifications", "/api/customer/notifications"
OURS, THEIRS = {"origin": ADMIN_URL}, {"origin": CUSTOMER_URL}


async def _told(world: GatewayWorld, user_id: UUID | None = None, **changes: Any) -> int:
    """A notification, to everybody who operates unless it has an addressee; its id."""
    values: dict[str, Any] = {
        "kind": "lago_alert_triggered",
        "topic": Topic.BILLING_NOTES if user_id is None else Topic.CHARGING,
        "severity": Severity.WARN,
        "title": "Title",
        "body": "Body.",
        "user_id": user_id,
        "created_at": SystemClock().now(),
    } | changes
    async with world.database.unit_of_work() as uow:
        count = await uow.session.scalar(text("SELECT count(*) FROM notifications"))
        (row,) = await NotificationRepository(uow).add([NewNotification(dedupe_key=f"key-{count}", **values)])
        assert row is not None
        return row.id


async def _second_operator(world: GatewayWorld) -> httpx.AsyncClient:
    """Another operator's browser."""
    await world.user(Role.ADMIN, email="op2@example.org")
    browser = httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=ADMIN_URL)
    assert (await world.sign_in(browser, "op2@example.org")).status_code == 200
    return browser


async def _read_events(world: GatewayWorld) -> list[tuple[list[str], dict[str, Any]]]:
    async with world.database.unit_of_work() as uow:
        query = select(DomainEventRow).where(DomainEventRow.type == "notification.read")
        rows = (await uow.session.scalars(query.order_by(DomainEventRow.created_at, DomainEventRow.id))).all()
    return [(row.audience, row.payload) for row in rows]


async def _ids(browser: httpx.AsyncClient, path: str) -> list[int]:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_a_notification_on_the_wire_has_every_field_of_the_contract(world: GatewayWorld) -> None:
    await world.operator()
    told = await _told(
        world, source_type=SourceType.INVOICE, source_id="inv", source_url="/invoices/inv", context={"a": 1}
    )

    answer = (await world.admin.get(ADMIN)).json()

    (item,) = answer.pop("items")
    assert answer == {"total": 1, "skip": 0, "limit": 25}
    assert item.pop("createdAt").endswith("Z")
    assert item == {
        "id": told,
        "kind": "lago_alert_triggered",
        "severity": "warn",
        "title": "Title",
        "body": "Body.",
        "sourceType": "invoice",
        "sourceId": "inv",
        "sourceUrl": "/invoices/inv",
        "context": {"a": 1},
        "adminUserId": None,
        "readAt": None,
        "dismissedAt": None,
    }


async def test_everybody_sees_what_is_for_them_and_nothing_else(world: GatewayWorld) -> None:
    driver, operator = await world.driver(), await world.operator()
    stranger = await world.user(email="stranger@example.org")
    to_all, to_driver, to_operator = [await _told(world, whom) for whom in (None, driver, operator)]
    await _told(world, stranger)

    assert await _ids(world.admin, ADMIN) == await _ids(world.admin, f"{ADMIN}/unread") == [to_operator, to_all]
    assert await _ids(world.customer, CUSTOMER) == await _ids(world.customer, f"{CUSTOMER}/unread") == [to_driver]
    assert (await world.admin.get(f"{ADMIN}/unread-count")).json() == {"count": 2}
    counted = await world.customer.get(f"{CUSTOMER}/unread-count")
    assert (counted.json(), counted.headers["cache-control"]) == ({"count": 1}, "no-store")


async def test_one_operator_reading_everything_hides_nothing_from_another(world: GatewayWorld) -> None:
    await world.operator()
    other = await _second_operator(world)
    first, second = await _told(world), await _told(world)

    await world.admin.delete(f"{ADMIN}/{first}", headers=OURS)
    marked = await world.admin.post(f"{ADMIN}/mark-all-read", headers=OURS)

    assert marked.json() == {"updated": 1}
    assert await _ids(world.admin, f"{ADMIN}/unread") == []
    assert await _ids(other, f"{ADMIN}/unread") == [second, first]
    assert [item["readAt"] for item in (await other.get(ADMIN)).json()["items"]] == [None, None]
    await other.aclose()


async def test_reading_one_is_told_to_the_readers_other_windows_once(world: GatewayWorld) -> None:
    operator = await world.operator()
    told = await _told(world)

    answers = [await world.admin.patch(f"{ADMIN}/{told}", headers=OURS) for _ in range(2)]

    assert [answer.json() for answer in answers] == [{"ok": True, "updated": True}, {"ok": True, "updated": False}]
    assert await _read_events(world) == [
        ([f"user:{operator}"], {"id": told, "adminUserId": str(operator), "count": 1}),
    ]
    (item,) = (await world.admin.get(f"{ADMIN}?readState=read")).json()["items"]
    assert item["readAt"] is not None


async def test_dismissing_is_told_too_and_a_repeat_changes_nothing(world: GatewayWorld) -> None:
    operator = await world.operator()
    told = await _told(world)

    first = await world.admin.patch(f"{ADMIN}/{told}", json={"action": "dismiss"}, headers=OURS)
    again = await world.admin.delete(f"{ADMIN}/{told}", headers=OURS)

    assert (first.json()["updated"], again.json()["updated"]) == (True, False)
    assert await _read_events(world) == [([f"user:{operator}"], {"id": told, "adminUserId": str(operator), "count": 1})]
    (item,) = (await world.admin.get(ADMIN)).json()["items"]
    assert (item["dismissedAt"] is not None, item["readAt"]) == (True, None)


async def test_marking_all_read_leaves_alone_what_was_dismissed_and_says_nothing_when_nothing_changed(
    world: GatewayWorld,
) -> None:
    driver = await world.driver()
    dismissed, _, _ = [await _told(world, driver) for _ in range(3)]
    await world.customer.delete(f"{CUSTOMER}/{dismissed}", headers=THEIRS)

    answers = [await world.customer.post(f"{CUSTOMER}/read-all", headers=THEIRS) for _ in range(2)]

    assert [answer.json() for answer in answers] == [{"updated": 2}, {"updated": 0}]
    assert (await _read_events(world))[1:] == [
        ([f"user:{driver}"], {"id": None, "adminUserId": str(driver), "count": 2})
    ]
    items = (await world.customer.get(CUSTOMER)).json()["items"]
    assert [item["readAt"] is None for item in items] == [False, False, True]


async def test_a_driver_marks_one_as_read(world: GatewayWorld) -> None:
    driver = await world.driver()
    told = await _told(world, driver)

    answer = await world.customer.post(f"{CUSTOMER}/{told}/read", headers=THEIRS)

    assert (answer.json(), await _ids(world.customer, f"{CUSTOMER}/unread")) == ({"ok": True, "updated": True}, [])


@pytest.mark.parametrize("method", ["read", "delete"])
async def test_what_is_not_ones_own_does_not_exist(world: GatewayWorld, method: str) -> None:
    await world.driver()
    stranger = await world.user(email="stranger@example.org")

    for told in (await _told(world, stranger), await _told(world), 4711):
        if method == "read":
            answer = await world.customer.post(f"{CUSTOMER}/{told}/read", headers=THEIRS)
        else:
            answer = await world.customer.delete(f"{CUSTOMER}/{told}", headers=THEIRS)
        assert (answer.status_code, answer.json()["error"]) == (404, "notification_not_found")
    async with world.database.unit_of_work() as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM notification_receipts")) == 0


async def test_an_operator_does_not_mark_what_is_a_drivers(world: GatewayWorld) -> None:
    await world.operator()
    told = await _told(world, await world.user())

    answer = await world.admin.patch(f"{ADMIN}/{told}", headers=OURS)

    assert (answer.status_code, answer.json()["error"]) == (404, "notification_not_found")


async def test_the_archive_is_filtered_and_paged(world: GatewayWorld) -> None:
    await world.operator()
    first = await _told(world, kind="auto_stop", severity=Severity.ERROR, source_type=SourceType.SESSION)
    second, third = await _told(world), await _told(world)
    await world.admin.patch(f"{ADMIN}/{second}", headers=OURS)

    assert await _ids(world.admin, f"{ADMIN}?severity=error") == [first]
    assert await _ids(world.admin, f"{ADMIN}?kind=lago_alert_triggered") == [third, second]
    assert await _ids(world.admin, f"{ADMIN}?sourceType=session") == [first]
    assert await _ids(world.admin, f"{ADMIN}?readState=unread") == [third, first]
    assert await _ids(world.admin, f"{ADMIN}?skip=1&limit=1") == [second]
    assert await _ids(world.admin, f"{ADMIN}?offset=2") == [first]
    assert (await world.admin.get(f"{ADMIN}?readState=read&limit=1")).json()["total"] == 1


@pytest.mark.parametrize(
    "query", ["severity=loud", "sourceType=toaster", "readState=maybe", "limit=0", "limit=101", "skip=-1", "skip=abc"]
)
async def test_a_query_that_makes_no_sense_is_refused(world: GatewayWorld, query: str) -> None:
    await world.operator()

    assert (await world.admin.get(f"{ADMIN}?{query}")).status_code == 422


async def test_an_action_that_there_is_not_is_refused(world: GatewayWorld) -> None:
    await world.operator()
    told = await _told(world)

    assert (await world.admin.patch(f"{ADMIN}/{told}", json={"action": "eat"}, headers=OURS)).status_code == 422
    assert await _ids(world.admin, f"{ADMIN}/unread") == [told]


async def test_an_operator_who_views_an_account_sees_its_notifications_and_marks_none(world: GatewayWorld) -> None:
    driver = await world.user()
    await world.operator()
    world.customer.cookies = world.admin.cookies
    told = await _told(world, driver)

    seen = await _ids(world.customer, f"{CUSTOMER}?as={driver}")
    refused = await world.customer.post(f"{CUSTOMER}/{told}/read?as={driver}", headers=THEIRS)
    count = (await world.customer.get(f"{CUSTOMER}/unread-count?as={driver}")).json()

    assert (seen, refused.status_code, count) == ([told], 403, {"count": 1})


async def test_a_driver_learns_once_a_day_that_an_operator_looked(world: GatewayWorld) -> None:
    driver = await world.user()
    await world.operator()
    world.customer.cookies = world.admin.cookies

    for path in ("/api/customer/sessions", CUSTOMER, f"{CUSTOMER}/unread"):
        assert (await world.customer.get(f"{path}?as={driver}")).status_code == 200

    async with world.database.unit_of_work() as uow:
        query = select(DomainEventRow.audience).where(DomainEventRow.type == "account.viewed")
        assert list((await uow.session.scalars(query)).all()) == [[f"user:{driver}"]]


async def test_what_somebody_has_switched_off_neither_counts_nor_shows_as_unread(world: GatewayWorld) -> None:
    driver = await world.driver()
    await _told(world, driver)
    other = await _told(world, driver, topic=Topic.INVOICES)
    off = {"changes": [{"topic": "charging", "channel": "inApp", "enabled": False}]}

    answer = await world.customer.put(f"{CUSTOMER}/preferences", json=off, headers=THEIRS)

    charging = next(item for item in answer.json()["topics"] if item["topic"] == "charging")
    assert charging["inApp"] == {"enabled": False, "mandatory": False}
    assert charging["email"] == {"enabled": True, "mandatory": False}
    assert await _ids(world.customer, f"{CUSTOMER}/unread") == [other]
    assert (await world.customer.get(f"{CUSTOMER}/unread-count")).json() == {"count": 1}
    assert len(await _ids(world.customer, CUSTOMER)) == 2
    assert (await world.customer.get(f"{CUSTOMER}/preferences")).json() == answer.json()


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "security", "channel": "inApp", "enabled": False},
        {"topic": "security", "channel": "email", "enabled": True},
        {"topic": "billing_trouble", "channel": "email", "enabled": True},
        {"topic": "gossip", "channel": "inApp", "enabled": True},
        {"topic": "charging", "channel": "push", "enabled": True},
    ],
    ids=["mandatory", "no such channel", "an operator's", "no such topic", "nothing is pushed"],
)
async def test_what_cannot_be_switched_is_refused_and_changes_nothing(
    world: GatewayWorld, change: dict[str, Any]
) -> None:
    await world.driver()
    before = (await world.customer.get(f"{CUSTOMER}/preferences")).json()
    good = {"topic": "charging", "channel": "inApp", "enabled": False}

    answer = await world.customer.put(f"{CUSTOMER}/preferences", json={"changes": [good, change]}, headers=THEIRS)

    assert answer.status_code == 422
    assert (await world.customer.get(f"{CUSTOMER}/preferences")).json() == before


async def test_operators_have_topics_of_their_own(world: GatewayWorld) -> None:
    await world.operator()

    topics = {item["topic"]: item for item in (await world.admin.get(f"{ADMIN}/preferences")).json()["topics"]}

    assert topics["billing_trouble"]["inApp"] == {"enabled": True, "mandatory": True}
    assert topics["billing_notes"]["email"] is None
    assert "charging" not in topics


async def test_old_notifications_are_forgotten_with_what_was_made_of_them(world: GatewayWorld) -> None:
    await world.operator()
    old, new = await _told(world), await _told(world)
    await world.admin.patch(f"{ADMIN}/{old}", headers=OURS)
    async with world.database.unit_of_work() as uow:
        await uow.execute(
            text("UPDATE notifications SET created_at = now() - interval '91 days' WHERE id = :id"), {"id": old}
        )

    deleted = await clean_up(world.database)

    assert (deleted["notifications"], await _ids(world.admin, ADMIN)) == (1, [new])
