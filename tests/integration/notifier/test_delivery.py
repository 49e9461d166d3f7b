"""Who gets what, and in which shape."""

import httpx
from tests.integration.notifier.conftest import Replica, StreamWorld, next_session, started, until
from tests.integration.notifier.stream_client import HOST, StreamClient

from polaris_common.events.catalogue import OPERATORS, PUBLIC, Audience, SessionQuarantined, SessionStopped
from polaris_common.models import Role


async def test_the_stream_looks_as_the_contract_says(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token) as stream:
        headers = stream.response.headers
        await world.emit(started(driver.audience, 7))
        event = await stream.next()

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["connection"] == "keep-alive"
    assert headers["x-accel-buffering"] == "no"
    assert stream.parser.retry == 5000
    assert (event.id, event.event) == (1, "session.started")
    assert event.data == {
        "sessionId": 7,
        "transactionId": 7,
        "chargeBoxId": "CP-1",
        "connectorId": 1,
        "startedAt": "2025-03-01T12:00:00.000Z",
    }


async def test_the_stream_begins_with_the_reconnection_time(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    headers = {"Host": HOST, "Cookie": f"polaris.session={driver.token}"}
    async with httpx.AsyncClient(headers=headers) as http, http.stream("GET", _url(replica)) as response:
        first = await anext(response.aiter_raw())

    assert first.startswith(b"retry: 5000\n\n")


async def test_only_the_drivers_own_and_public_events_arrive(world: StreamWorld) -> None:
    replica, driver, stranger = await world.notifier(), await world.person(), await world.person()
    async with StreamClient(replica.port, driver.token) as stream:
        await world.emit(
            started(stranger.audience, 1),
            started(Audience((OPERATORS,)), 2),
            started(Audience(("device:5",)), 3),
            started(Audience(("nobody we know",)), 4),
            started(Audience(()), 5),
            started(Audience((PUBLIC,)), 6),
            started(Audience((OPERATORS, *stranger.audience.names)), 7),
            started(Audience((OPERATORS, *driver.audience.names)), 8),
        )
        received = [await next_session(stream) for _ in range(2)]

    assert received == [6, 8]


async def test_an_operator_sees_only_their_own_here(world: StreamWorld) -> None:
    replica, operator, driver = await world.notifier(), await world.person(Role.ADMIN), await world.person()
    async with StreamClient(replica.port, operator.token) as stream:
        await world.emit(
            started(Audience.operators_and(driver.user.id), 1),
            started(Audience((OPERATORS,)), 2),
            started(operator.audience, 3),
        )
        assert await next_session(stream) == 3


async def test_event_types_that_are_not_for_drivers_never_arrive(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    quarantined = SessionQuarantined(
        audience=driver.audience, session_id=1, transaction_id=1, charge_box_id="CP-1", connector_id=1, reason="why"
    )
    await world.emit(started(driver.audience, 1))
    await until(lambda: replica.notifier.hub.last_seq == 1)
    async with StreamClient(replica.port, driver.token) as live, StreamClient(replica.port, driver.token) as resumed:
        await world.emit(quarantined, started(driver.audience, 2))
        assert await next_session(live) == 2

        await resumed.disconnect()
        resumed.parser.last_event_id = "1"
        await resumed.connect()
        assert await next_session(resumed) == 2


async def test_an_event_for_several_audiences_of_one_viewer_arrives_once(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token) as stream:
        await world.emit(started(Audience((PUBLIC, *driver.audience.names)), 1), started(driver.audience, 2))
        assert [await next_session(stream) for _ in range(2)] == [1, 2]


async def test_text_with_line_breaks_stays_one_event(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token) as stream:
        await world.emit(
            SessionStopped(
                audience=driver.audience,
                session_id=1,
                transaction_id=1,
                charge_box_id="CP\n\nevent: forged",
                connector_id=1,
                stopped_at="2025-03-01T13:00:00.000Z",
                energy_wh=1,
                energy_kwh="0.001",
                final=True,
            )
        )
        event = await stream.next()

    assert event.event == "session.stopped"
    assert event.data["chargeBoxId"] == "CP\n\nevent: forged"


async def test_an_event_of_any_size_arrives_whole_on_every_replica(world: StreamWorld) -> None:
    replicas, driver = [await world.notifier(), await world.notifier()], await world.person()
    name = "CP-" + "x" * 100_000
    async with (
        StreamClient(replicas[0].port, driver.token) as one,
        StreamClient(replicas[1].port, driver.token) as other,
    ):
        await world.emit(started(driver.audience, 1, charge_box_id=name))
        assert (await one.next()).data["chargeBoxId"] == name
        assert (await other.next()).data["chargeBoxId"] == name


async def test_who_is_not_signed_in_gets_401(world: StreamWorld) -> None:
    replica = await world.notifier()
    async with httpx.AsyncClient(headers={"Host": HOST}) as http:
        for cookie in ("", "polaris.session=nobody", "session=x"):
            response = await http.get(_url(replica), headers={"Cookie": cookie})
            assert response.status_code == 401
            assert response.json().keys() == {"error", "message", "requestId"}
            assert response.json()["error"] == "unauthorized"


async def test_the_stream_is_on_the_drivers_host_alone(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    cookie = f"polaris.session={driver.token}"
    async with httpx.AsyncClient() as http:
        headers = {"Host": "POLARIS.localhost:8443", "Cookie": cookie}
        async with http.stream("GET", _url(replica), headers=headers) as response:
            assert response.status_code == 200

        elsewhere = ("manage.polaris.localhost", "example.org", "polaris.localhost.evil.example", "127.0.0.1", "[x")
        for host in elsewhere:
            refused = await http.get(_url(replica), headers={"Host": host, "Cookie": cookie})
            assert (refused.status_code, refused.json()["error"]) == (404, "not_found")


async def test_probes_answer_on_any_host(world: StreamWorld) -> None:
    replica = await world.notifier()
    async with httpx.AsyncClient() as http:
        for path in ("livez", "readyz"):
            response = await http.get(f"http://127.0.0.1:{replica.port}/{path}")
            assert (response.status_code, response.json()) == (200, {"status": "ok"})


def _url(replica: Replica) -> str:
    return f"http://127.0.0.1:{replica.port}/api/stream/customer"
