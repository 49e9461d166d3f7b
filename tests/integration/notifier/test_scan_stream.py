"""A device's stream: exact on the wire, read as the app reads it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.integration.notifier.conftest import Phone, Replica, StreamWorld, until
from tests.integration.notifier.ios_parser import App, AppParser
from tests.integration.notifier.stream_client import ADMIN_HOST, HOST

from polaris_common.events.app_devices import DeviceCapabilitiesChanged, DeviceSettingsChanged
from polaris_common.events.catalogue import (
    PUBLIC,
    Audience,
    DeviceFeatureFlagsChanged,
    DeviceScanCancelled,
    DeviceScanRequested,
    DeviceTokenRevoked,
    FeatureFlagsChanged,
)
from polaris_common.identity.pairings import PairingRepository, Target, epoch_ms
from polaris_common.models import PairableType, Pairing, PairingPurpose

QUICK: dict[str, Any] = {"sse_heartbeat_seconds": 0.3}


async def arm(world: StreamWorld, phone: Phone) -> Pairing:
    """Ask the phone to read a card, as the gateway does."""
    async with world.database.unit_of_work() as uow:
        target = Target(PairableType.DEVICE, str(phone.id))
        pairing = await PairingRepository(uow).arm(target, purpose=PairingPurpose.LOGIN, ip_address=None)
        uow.emit(requested(phone, pairing.code, epoch_ms(pairing.expires_at)))
    return pairing


def requested(phone: Phone, code: str, expires: int = 1_745_622_090_000) -> DeviceScanRequested:
    """A request that was made some time."""
    return DeviceScanRequested(
        audience=phone.audience,
        device_id=phone.id,
        pairing_code=code,
        purpose="login",
        expires_at_iso="2025-04-25T23:01:30.000Z",
        expires_at_epoch_ms=expires,
    )


async def settled(replica: Replica, world: StreamWorld) -> None:
    """Every event is numbered and handed out."""
    total = (await world.row("SELECT count(*) AS events FROM domain_events")).events
    await until(lambda: replica.notifier.hub.last_seq == total)


async def test_the_frames_have_the_lines_and_the_order_of_the_contract(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    async with App(replica.port, phone.token) as app:
        connected = await app.next()
        await world.emit(requested(phone, "X7R2KQ"))
        asked = await app.next()
        headers, raw = app.response.headers, app.parser.raw

    connected_frame, requested_frame, rest = raw.split(b"\n\n")
    assert connected_frame.startswith(b"event: connected\nid: 0\ndata: {")
    assert requested_frame.startswith(b"event: scan.requested\nid: 2\ndata: {")
    assert rest == b""
    assert connected.data == {"deviceId": str(phone.id), "scanStreamVersion": 1}
    assert asked.data == {
        "deviceId": str(phone.id),
        "pairingCode": "X7R2KQ",
        "purpose": "login",
        "expiresAtIso": "2025-04-25T23:01:30.000Z",
        "expiresAtEpochMs": 1_745_622_090_000,
        "requestedByUserId": None,
        "hintLabel": None,
    }
    assert headers["content-type"] == "text/event-stream"
    assert headers["x-accel-buffering"] == "no"
    assert headers["connection"] == "keep-alive"
    assert "no-cache" in headers["cache-control"]


async def test_connecting_never_takes_the_app_back_to_the_beginning(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    await world.emit(requested(phone, "OLD"))
    await settled(replica, world)
    async with App(replica.port, phone.token) as app:
        first = await app.next()
        await world.emit(DeviceSettingsChanged(audience=phone.audience, device_id=phone.id, keys=["a"]))
        seen = await app.next()
        await app.disconnect()
        await app.connect()
        again = await app.next()

    assert first.id == "1", "a fresh connection stands at the end of the log"
    assert again.name == "connected"
    assert again.id == seen.id == app.parser.cursor


async def test_each_kind_of_news_has_its_name_and_flag_changes_reach_the_app(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone, other = await world.phone(driver), await world.phone(driver)
    device: dict[str, Any] = {"audience": phone.audience, "device_id": phone.id}
    async with App(replica.port, phone.token) as app:
        await app.next()
        await world.emit(
            requested(other, "NOT-OURS"),
            DeviceScanCancelled(**device, pairing_code="X7R2KQ", cancelled_at=1_745_622_000_000, source="admin"),
            DeviceCapabilitiesChanged(**device, capabilities=["user"]),
            DeviceSettingsChanged(**device, keys=["device.label"]),
            DeviceFeatureFlagsChanged(**device, keys=["location"]),
            FeatureFlagsChanged(audience=Audience((PUBLIC,)), keys=["location"]),
        )
        heard = [await app.next() for _ in range(5)]

    assert [event.name for event in heard] == [
        "scan.cancelled",
        "device.capabilities.changed",
        "device.settings.changed",
        "device.feature-flags.changed",
        "device.feature-flags.changed",
    ]
    assert heard[0].data == {
        "deviceId": str(phone.id),
        "pairingCode": "X7R2KQ",
        "cancelledAt": 1_745_622_000_000,
        "source": "admin",
    }
    assert heard[1].data == {"deviceId": str(phone.id), "capabilities": ["user"]}


async def test_a_new_stream_ends_the_older_one_on_the_same_replica_and_stays(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    async with App(replica.port, phone.token) as first, App(replica.port, phone.token) as second:
        assert await first.names_until_end() == ["connected", "device.session.replaced"]
        await settled(replica, world)
        await world.emit(requested(phone, "X7R2KQ"))
        assert [(await second.next()).name for _ in range(2)] == ["connected", "scan.requested"]


async def test_a_new_stream_ends_the_older_one_on_another_replica(world: StreamWorld) -> None:
    replicas = [await world.notifier(), await world.notifier()]
    phone = await world.phone(await world.person())
    async with App(replicas[0].port, phone.token) as first:
        await settled(replicas[0], world)
        async with App(replicas[1].port, phone.token) as second:
            assert await first.names_until_end() == ["connected", "device.session.replaced"]
            assert first.parser.raw.endswith(b"event: device.session.replaced\nid: 2\ndata: {}\n\n")
            await world.emit(requested(phone, "X7R2KQ"))
            assert [(await second.next()).name for _ in range(2)] == ["connected", "scan.requested"]


async def test_a_resumed_stream_is_not_ended_by_what_it_reads_of_former_ones(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    for _ in range(3):
        async with App(replica.port, phone.token) as app:
            await app.next()
    await settled(replica, world)

    resumed = App(replica.port, phone.token)
    resumed.parser.cursor = "1"
    async with resumed:
        await world.emit(DeviceSettingsChanged(audience=phone.audience, device_id=phone.id, keys=[]))
        assert [(await resumed.next()).name for _ in range(2)] == ["connected", "device.settings.changed"]


async def test_only_requests_that_still_stand_are_replayed(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    await world.emit(requested(phone, "SEEN"), requested(phone, "LONG-OVER"))
    given_up = await arm(world, phone)
    async with world.database.unit_of_work() as uow:
        target = Target(PairableType.DEVICE, str(phone.id))
        assert await PairingRepository(uow).release(target, given_up.code, by="admin")
    armed = await arm(world, phone)
    await settled(replica, world)

    app = App(replica.port, phone.token)
    app.parser.cursor = "1"
    async with app:
        heard = [await app.next() for _ in range(2)]

    assert [event.name for event in heard] == ["connected", "scan.requested"]
    assert heard[1].data["pairingCode"] == armed.code


async def test_the_end_of_the_token_in_use_ends_the_stream_and_no_other_tokens_does(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)

    def revoked(token_id: UUID) -> DeviceTokenRevoked:
        return DeviceTokenRevoked(audience=phone.audience, device_id=phone.id, token_id=token_id, reason="admin")

    async with App(replica.port, phone.token) as app:
        await world.emit(revoked(uuid4()), requested(phone, "X7R2KQ"), revoked(phone.token_id))
        assert await app.names_until_end() == ["connected", "scan.requested", "device.token.revoked"]
        assert app.parser.raw.endswith(b"\ndata: {}\n\n")
    await until(lambda: len(replica.notifier.hub) == 0)


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE device_tokens SET revoked_at = now()",
        "UPDATE device_tokens SET expires_at = now()",
        "UPDATE devices SET deleted_at = now()",
        "DELETE FROM users",
    ],
)
async def test_a_credential_that_ended_silently_ends_the_stream_within_a_heartbeat(
    world: StreamWorld, end: str
) -> None:
    replica = await world.notifier(**QUICK)
    phone = await world.phone(await world.person())
    async with App(replica.port, phone.token) as app:
        await app.next()
        await world.execute(end)
        assert await app.names_until_end() == ["device.token.revoked"]


async def test_signs_of_life_are_comments_and_every_fourth_is_noted(world: StreamWorld) -> None:
    replica, driver = await world.notifier(sse_heartbeat_seconds=0.15), await world.person()
    phone = await world.phone(driver)

    async def seen() -> Any:
        return (await world.row("SELECT last_seen_at FROM devices")).last_seen_at

    async with App(replica.port, phone.token) as app:
        opened = await seen()
        reading = asyncio.create_task(app.names_until_end())
        await until(lambda: len(app.parser.comments) >= 1)
        early = await seen() if len(app.parser.comments) < 4 else opened
        await until(lambda: len(app.parser.comments) >= 4)
        late = await seen()
        assert app.parser.cursor == "0"
        assert set(app.parser.comments) == {b": keepalive"}
        reading.cancel()

    assert early == opened
    assert late > opened


async def test_one_owners_devices_may_have_three_streams_at_an_address_and_other_people_theirs(
    world: StreamWorld,
) -> None:
    replica, kiosk, neighbour = await world.notifier(), await world.person(), await world.person()
    phones = [await world.phone(kiosk) for _ in range(4)]
    apps = [App(replica.port, phone.token) for phone in phones[:3]]
    for app in apps:
        assert (await app.connect()).status_code == 200

    refused = await App(replica.port, phones[3].token).connect()
    await refused.aread()
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_concurrent_streams")
    assert refused.headers["retry-after"] == "10"
    async with App(replica.port, (await world.phone(neighbour)).token), App(replica.port, phones[0].token):
        pass
    await apps[1].disconnect()
    await until(lambda: len(replica.notifier.hub) <= 1)
    async with App(replica.port, phones[3].token):
        pass
    for app in (apps[0], apps[2]):
        await app.disconnect()


async def test_who_shows_no_live_token_gets_401_and_an_outage_is_never_one(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    url = f"http://127.0.0.1:{replica.port}/api/devices/scan-stream"
    async with httpx.AsyncClient(headers={"Host": ADMIN_HOST}) as http:
        for headers in (
            {},
            {"Authorization": "Bearer dev_unknown"},
            {"Authorization": f"bearer {phone.token}"},
            {"Cookie": f"polaris.session={driver.token}"},
        ):
            refused = await http.get(url, headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (401, "Unauthorized")
        bearer = {"Authorization": f"Bearer {phone.token}"}
        assert (await http.get(url, headers=bearer | {"Host": "elsewhere.example"})).status_code == 404
        async with http.stream("GET", url, headers=bearer | {"Host": HOST}) as response:
            assert response.status_code == 200
        await world.execute("ALTER TABLE device_tokens RENAME TO away")
        outage = await http.get(url, headers=bearer)
        await world.execute("ALTER TABLE away RENAME TO device_tokens")
    assert (outage.status_code, outage.json()["error"]) == (503, "unavailable")


async def test_an_app_that_was_away_for_too_long_is_made_to_ask_for_its_state(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    phone = await world.phone(driver)
    await world.emit(*(requested(phone, str(n)) for n in range(5)))
    await settled(replica, world)
    await world.execute("DELETE FROM domain_events WHERE seq <= 3")

    app = App(replica.port, phone.token)
    app.parser.cursor = "1"
    async with app:
        heard = [await app.next() for _ in range(2)]
    assert [event.name for event in heard] == ["connected", "device.settings.changed"]
    assert int(heard[1].id) >= 5


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_the_parser_reads_as_the_app_does(end: bytes) -> None:
    lines = [b": keepalive", b"", b"retry: 5", b"", b"id: 7", b"", b"event: a", b"data: {", b"data: }", b"", b"data: 1"]
    parser = AppParser()
    events = parser.feed(end.join([*lines, b"", b"x"]))

    assert [(event.name, event.data, event.id) for event in events] == [("a", {}, "7"), ("message", 1, "7")]
