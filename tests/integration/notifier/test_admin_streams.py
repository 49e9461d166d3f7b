"""Operators' streams: topics, one invoice, one device's log, limits of their own, and their end."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.integration.notifier.conftest import Person, StreamWorld, next_session, started, until
from tests.integration.notifier.stream_client import ADMIN_HOST, CUSTOMER_STREAM, StreamClient

from polaris_common.events.app_devices import DeviceLogsAppended
from polaris_common.events.catalogue import OPERATORS, Audience, InvoiceUpdated
from polaris_common.events.live import ChargerStateChanged, SyncCompleted, TagSeen
from polaris_common.identity.sessions import act_as
from polaris_common.models import Role

QUICK: dict[str, Any] = {"sse_heartbeat_seconds": 0.3}
CHARGERS, TOPICS = "/api/admin/stream/chargers", "/api/admin/stream?topics="


def _state(box: str) -> ChargerStateChanged:
    return ChargerStateChanged(charge_box_id=box, connector_id=1, status="Charging", updated_at="x")


def _sync(run: int) -> SyncCompleted:
    return SyncCompleted(sync_run_id=run, status="completed", transactions_processed=3, events_created=2, error_count=0)


async def test_the_charger_stream_begins_with_every_open_session_and_goes_on_live(world: StreamWorld) -> None:
    replica, operator, driver = await world.notifier(), await world.person(Role.ADMIN), await world.person()
    session = await world.charge(driver.user.id, start_wh=1_000, register_wh=3_500, power_w=7_000)
    await world.charge(None, start_wh=0, register_wh=1, power_w=1)
    async with StreamClient(replica.port, operator.token, path=CHARGERS) as stream:
        meters = [await stream.next() for _ in range(2)]
        await world.emit(
            _state("CP-1"),
            TagSeen(id_tag="04A1", seen_at="2025-03-01T12:00:00.000Z"),
            _sync(7),
            started(driver.audience, 1),
        )
        live = [await stream.next() for _ in range(3)]

    assert [event.event for event in meters] == ["transaction.meter"] * 2
    assert meters[0].data["sessionId"] == session.id
    assert meters[0].data["kwh"] == 3.5
    assert meters[0].data["sessionKwh"] == "2.500"
    assert [event.event for event in live] == ["charger.state", "tag.seen", "sync.completed"]
    assert live[1].data == {"idTag": "04A1", "chargeBoxId": None, "seenAt": "2025-03-01T12:00:00.000Z"}
    assert live[2].data == {
        "syncRunId": 7,
        "status": "completed",
        "transactionsProcessed": 3,
        "eventsCreated": 2,
        "errorCount": 0,
    }


async def test_one_connection_carries_the_topics_that_were_asked_for(world: StreamWorld) -> None:
    replica, operator = await world.notifier(), await world.person(Role.ADMIN)
    staff = Audience((OPERATORS,))
    async with StreamClient(replica.port, operator.token, path=f"{TOPICS}invoices,%20sync,") as stream:
        await world.emit(
            _state("CP-1"),
            InvoiceUpdated(audience=staff, invoice_id="i-1", status="finalized"),
            started(staff, 1),
            _sync(1),
        )
        assert [(await stream.next()).event for _ in range(2)] == ["invoice.updated", "sync.completed"]


async def test_an_invoices_stream_tells_of_that_invoice_alone_also_when_it_resumes(world: StreamWorld) -> None:
    replica, operator = await world.notifier(), await world.person(Role.ADMIN)
    staff = Audience((OPERATORS,))
    path = "/api/admin/stream/invoices?invoiceId=i-2"
    async with StreamClient(replica.port, operator.token, path=path) as stream:
        await world.emit(*(InvoiceUpdated(audience=staff, invoice_id=f"i-{n}", status="draft") for n in (1, 2, 3)))
        first = await stream.next()
        await stream.disconnect()
        await world.emit(*(InvoiceUpdated(audience=staff, invoice_id=f"i-{n}", status="paid") for n in (1, 2)))
        await stream.connect()
        second = await stream.next()

    assert [event.data for event in (first, second)] == [
        {"invoiceId": "i-2", "status": "draft"},
        {"invoiceId": "i-2", "status": "paid"},
    ]


async def test_a_devices_log_is_followed_alone(world: StreamWorld) -> None:
    replica, operator, driver = await world.notifier(), await world.person(Role.ADMIN), await world.person()
    phone, other = await world.phone(driver), await world.phone(driver)
    record = {"timeUnixNano": "1745622000000000000", "body": {"stringValue": "hello\n\nevent: forged"}}
    path = f"/api/admin/devices/{str(phone.id).upper()}/logs-stream"
    async with StreamClient(replica.port, operator.token, path=path) as stream:
        await world.emit(*(DeviceLogsAppended(device_id=each.id, records=[record]) for each in (other, phone)))
        event = await stream.next()

    assert (event.event, event.data) == ("device.logs.appended", {"deviceId": str(phone.id), "records": [record]})
    assert stream.parser.retry == 5000


async def test_the_position_may_stand_in_the_address_and_a_reconnects_header_is_newer(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(1, 5)))
    await until(lambda: replica.notifier.hub.last_seq >= 4)
    async with StreamClient(replica.port, driver.token, path=f"{CUSTOMER_STREAM}?lastEventId=2") as stream:
        assert [await next_session(stream) for _ in range(2)] == [3, 4]
        await stream.disconnect()
        await stream.connect()
        await world.emit(started(driver.audience, 9))
        assert await next_session(stream) == 9
    async with StreamClient(replica.port, driver.token, path=f"{CUSTOMER_STREAM}?lastEventId=-1") as stream:
        await world.emit(started(driver.audience, 10))
        assert await next_session(stream) == 10


async def test_drivers_cannot_use_up_the_streams_that_operators_need(world: StreamWorld) -> None:
    replica = await world.notifier(sse_max_streams=10, sse_max_operator_streams=2, sse_max_log_streams=1)
    operators = [await world.person(Role.ADMIN) for _ in range(3)]
    phone = await world.phone(await world.person())
    logs = f"/api/admin/devices/{phone.id}/logs-stream"
    async with AsyncExitStack() as stack:

        async def status(person: Person, path: str) -> tuple[int, str | None]:
            stream = StreamClient(replica.port, person.token, path=path)
            response = await stream.connect()
            stack.push_async_callback(stream.disconnect)
            if response.status_code == 200:
                return 200, None
            await response.aread()
            assert response.headers["retry-after"] == "30"
            return response.status_code, response.json()["error"]

        drivers = [await status(await world.person(), CUSTOMER_STREAM) for _ in range(10)]
        assert drivers == [(200, None)] * 9 + [(503, "SSE connection cap reached")]
        assert await status(operators[0], CHARGERS) == (200, None)
        assert await status(operators[1], CHARGERS) == (503, "SSE connection cap reached")
    await until(lambda: len(replica.notifier.hub) == 0)
    async with AsyncExitStack() as stack:
        assert [await status(each, CHARGERS) for each in operators] == [
            (200, None),
            (200, None),
            (503, "SSE connection cap reached"),
        ]
        assert await status(operators[0], logs) == (200, None)
        assert await status(operators[1], logs) == (503, "capacity_exhausted")


REVOKED = {
    "signed out": "DELETE FROM auth_sessions",
    "expired": "UPDATE auth_sessions SET expires_at = now()",
    "too old": "UPDATE auth_sessions SET created_at = now() - interval '9 hours'",
    "another role": "UPDATE users SET role = CASE role WHEN 'admin' THEN 'customer' ELSE 'admin' END",
    "removed": "DELETE FROM users",
}


@pytest.mark.parametrize("how", REVOKED)
async def test_whoever_may_not_see_it_any_more_sees_no_more_after_the_next_heartbeat(
    world: StreamWorld, how: str
) -> None:
    replica = await world.notifier(**QUICK)
    operator, driver, viewed = await world.person(Role.ADMIN), await world.person(), await world.person()
    phone = await world.phone(driver)
    paths = {
        CUSTOMER_STREAM: driver,
        f"{CUSTOMER_STREAM}?as={viewed.user.id}": operator,
        CHARGERS: operator,
        "/api/admin/stream": operator,
        "/api/admin/notifications/stream": operator,
        "/api/admin/stream/invoices?invoiceId=1": operator,
        f"/api/admin/devices/{phone.id}/logs-stream": operator,
    }
    streams = {path: StreamClient(replica.port, person.token, path=path) for path, person in paths.items()}
    for stream in streams.values():
        assert (await stream.connect()).status_code == 200
    await world.execute(REVOKED[how])
    if how == "too old":  # only a driver's session has an age that ends it
        rest = [await streams[CUSTOMER_STREAM].ended()]
    else:
        rest = [await stream.ended() for stream in streams.values()]
    for stream in streams.values():
        await stream.disconnect()

    # Before it a stream may tell that an operator has looked at the account.
    assert [(events[-1].event, events[-1].data) for events in rest] == [("bye", {"reason": "signed_out"})] * len(rest)


async def _session(stream: StreamClient) -> int:
    """The next session; what tells that the account was viewed is passed over."""
    session_id: int = (await stream.until(lambda event: event.event == "session.started"))[-1].data["sessionId"]
    return session_id


async def test_an_operators_view_of_an_account_ends_its_stream_when_it_ends(world: StreamWorld) -> None:
    replica = await world.notifier(**QUICK)
    operator, driver, other = await world.person(Role.ADMIN), await world.person(), await world.person()
    session = (await world.row("SELECT id FROM auth_sessions WHERE user_id = :id", id=operator.user.id)).id
    async with world.database.unit_of_work() as uow:
        await act_as(uow, session, driver.user.id, lifetime=timedelta(minutes=30))
    async with (
        StreamClient(replica.port, operator.token) as by_session,
        StreamClient(replica.port, operator.token, path=f"{CUSTOMER_STREAM}?as={other.user.id}") as by_request,
    ):
        await world.emit(started(driver.audience, 1), started(other.audience, 2))
        assert await _session(by_session) == 1
        assert await _session(by_request) == 2
        await world.execute("UPDATE auth_sessions SET acting_until = now()")
        assert [event.event for event in await by_session.ended()][-1:] == ["bye"]
        await world.emit(started(other.audience, 3))
        assert await _session(by_request) == 3
        await world.execute("UPDATE users SET role = 'admin' WHERE id = :id", id=other.user.id)
        assert [event.event for event in await by_request.ended()][-1:] == ["bye"]


async def test_a_view_of_an_account_is_written_down(world: StreamWorld) -> None:
    replica, operator, driver = await world.notifier(), await world.person(Role.ADMIN), await world.person()
    async with StreamClient(replica.port, operator.token, path=f"{CUSTOMER_STREAM}?as={driver.user.id}"):
        row = await world.row("SELECT admin_user_id, customer_user_id, route, method FROM impersonation_audit")

    assert tuple(row) == (operator.user.id, driver.user.id, CUSTOMER_STREAM, "GET")


async def test_a_driver_who_names_another_driver_sees_their_own(world: StreamWorld) -> None:
    replica, driver, other = await world.notifier(), await world.person(), await world.person()
    async with StreamClient(replica.port, driver.token, path=f"{CUSTOMER_STREAM}?as={other.user.id}") as stream:
        await world.emit(started(other.audience, 1), started(driver.audience, 2))
        assert await next_session(stream) == 2


async def test_errors_before_a_stream_have_one_shape(world: StreamWorld) -> None:
    replica, operator = await world.notifier(), await world.person(Role.ADMIN)
    headers = {"Host": ADMIN_HOST, "Cookie": f"polaris.session={operator.token}"}
    async with httpx.AsyncClient(headers=headers) as http:
        for path, status, code in (
            ("/api/admin/stream/invoices", 400, "Missing required query param: invoiceId"),
            (f"{TOPICS}chargers,weather", 400, "unknown_topic"),
            ("/api/admin/stream/weather", 404, "not_found"),
        ):
            refused = await http.get(f"http://127.0.0.1:{replica.port}{path}")
            assert (refused.status_code, refused.json()["error"]) == (status, code)
        changed = await http.post(f"http://127.0.0.1:{replica.port}{CHARGERS}")
    assert (changed.status_code, changed.json()["error"]) == (405, "method_not_allowed")
