"""Pushes leave the queue once at most, never late, and only to who is asked to read a card."""

import asyncio

import pytest
from sqlalchemy import insert
from tests.integration.notifier.conftest import StreamWorld, until
from tests.integration.notifier.push.conftest import TOKEN, Phones

from polaris_common.events.catalogue import Audience, SessionStarted
from polaris_common.identity.pairings import PairingRepository, Target
from polaris_common.models import DeviceSetting, PairableType, PairingPurpose
from polaris_common.push.queue import SCAN_REQUEST_SETTING, queue_scan_push
from polaris_sim.apns import Fault, Trouble


async def test_a_scan_request_is_the_alert_that_the_app_knows(phones: Phones) -> None:
    phone = await phones.phone()
    pairing = await phones.ask(phone)

    await phones.sender.send_due()

    [push] = phones.apple.pushes
    expires = pairing.expires_at.timestamp()
    row = await phones.row("SELECT id, outcome FROM outgoing_pushes")
    assert push.device_token == TOKEN
    assert {name: value for name, value in push.headers.items() if name.startswith("apns-")} == {
        "apns-id": str(row.id),
        "apns-topic": "com.example.expresscharge.ios",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(int(expires)),
        "apns-collapse-id": f"scan-{pairing.code}",
    }
    assert push.payload == {
        "aps": {
            "alert": {"title": "Sign someone in", "body": "Tap to start the NFC scan"},
            "sound": "default",
            "category": "NFC_SCAN_REQUEST",
            "mutable-content": 1,
            "thread-id": f"device-scan-{phone}",
            "interruption-level": "time-sensitive",
        },
        "v": 1,
        "deviceId": str(phone),
        "pairingCode": pairing.code,
        "purpose": "login",
        "hintLabel": None,
        "expiresAtEpochMs": int(expires * 1000),
    }
    assert row.outcome == "sent"


@pytest.mark.parametrize("purpose", [each for each in PairingPurpose if each is not PairingPurpose.LOGIN])
async def test_a_request_of_an_operator_says_for_whom(phones: Phones, purpose: PairingPurpose) -> None:
    await phones.ask(await phones.phone(), purpose=purpose, hint="Zoë's card")

    await phones.sender.send_due()

    [push] = phones.apple.pushes
    assert push.payload["aps"]["alert"] == {
        "title": "Scan a card now",
        "body": "Tap to start the NFC scan: Zoë's card",
    }
    assert (push.payload["purpose"], push.payload["hintLabel"]) == (purpose, "Zoë's card")


async def test_a_running_notifier_rings_a_phone_that_is_asked(phones: Phones, world: StreamWorld) -> None:
    await world.notifier(**phones.settings().model_dump())

    await phones.ask(await phones.phone())

    await until(lambda: bool(phones.apple.pushes))


async def test_asking_where_a_device_is_shows_nothing(phones: Phones) -> None:
    phone = await phones.phone()
    correlation_id = await phones.locate(phone)

    await phones.sender.send_due()

    [push] = phones.apple.pushes
    expires = int((await phones.row("SELECT expires_at FROM outgoing_pushes")).expires_at.timestamp())
    assert {name: value for name, value in push.headers.items() if name.startswith("apns-")} == {
        "apns-id": str(correlation_id),
        "apns-topic": "com.example.expresscharge.ios",
        "apns-push-type": "background",
        "apns-priority": "5",
        "apns-expiration": str(expires),
        "apns-collapse-id": f"device.locate:{phone}",
    }
    assert push.payload == {
        "aps": {"content-available": 1},
        "type": "device.locate",
        "correlationId": str(correlation_id),
        "expiresAtSec": expires,
    }


async def test_a_push_is_never_sent_after_its_request_has_expired(phones: Phones) -> None:
    await phones.ask(await phones.phone())
    await phones.locate(await phones.phone(token="cd" * 32))
    await phones.execute("UPDATE outgoing_pushes SET expires_at = now() - interval '1 millisecond'")

    await phones.sender.send_due()

    assert (phones.apple.requests, await phones.outcome()) == (0, "expired")


@pytest.mark.parametrize("end", ["matched", "released"])
async def test_a_request_that_is_over_rings_no_more(phones: Phones, end: str) -> None:
    await phones.ask(await phones.phone())
    await phones.execute("UPDATE pairings SET status = :end, matched_id_tag = 'A', matched_at = now()", end=end)

    await phones.sender.send_due()

    assert (phones.apple.requests, await phones.outcome()) == (0, "over")


async def test_a_request_that_was_rolled_back_rings_never(phones: Phones) -> None:
    phone = await phones.phone()
    async with phones.database.unit_of_work() as uow:
        target = Target(PairableType.DEVICE, str(phone))
        pairing = await PairingRepository(uow).arm(target, purpose=PairingPurpose.LOGIN, ip_address=None)
        assert await queue_scan_push(uow, pairing, phone)
        await uow.session.rollback()

    await phones.sender.send_due()

    assert phones.apple.requests == 0


@pytest.mark.parametrize(("value", "rings"), [(False, False), (True, True), (None, True), ("false", True)])
async def test_an_owner_who_wants_no_scan_requests_gets_none(phones: Phones, value: object, *, rings: bool) -> None:
    phone, other = await phones.phone(), await phones.phone(token="cd" * 32)
    async with phones.database.unit_of_work() as uow:
        setting = {"device_id": phone, "key": SCAN_REQUEST_SETTING, "value_json": value, "updated_by": "device"}
        await uow.execute(insert(DeviceSetting).values(setting))
    await phones.ask(phone)
    await phones.ask(other)

    await phones.sender.send_due()

    tokens = {push.device_token for push in phones.apple.pushes}
    assert tokens == ({TOKEN, "cd" * 32} if rings else {"cd" * 32})


async def test_a_phone_without_push_has_its_stream_alone(phones: Phones) -> None:
    await phones.ask(await phones.phone(token=None))

    await phones.sender.send_due()

    assert (phones.apple.requests, await phones.outcome()) == (0, None)


async def test_a_token_that_was_given_back_before_the_push_left_is_not_used(phones: Phones) -> None:
    await phones.ask(await phones.phone())
    await phones.execute("UPDATE devices SET push_token = NULL")

    await phones.sender.send_due()

    assert (phones.apple.requests, await phones.outcome()) == (0, "unreachable")


async def test_two_senders_ring_once_for_each_request(phones: Phones) -> None:
    for number in range(25):
        await phones.ask(await phones.phone(token=f"{number:064x}"))

    await asyncio.gather(*(phones.sender.send_due() for _ in range(3)))

    assert len(phones.apple.pushes) == len({push.device_token for push in phones.apple.pushes}) == 25


async def test_a_sender_that_dies_with_a_push_in_hand_does_not_ring_twice(phones: Phones) -> None:
    phones.apple.faults.append(Fault(Trouble.SILENCE))
    await phones.ask(await phones.phone())
    dying = asyncio.create_task(phones.sender.send_due())
    async with asyncio.timeout(10):
        while not phones.apple.pushes:  # noqa: ASYNC110 - what another task receives
            await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    await phones.sender.send_due()

    assert (len(phones.apple.pushes), await phones.outcome()) == (1, "taken")


async def test_a_whole_charging_session_pushes_nothing(phones: Phones) -> None:
    await phones.phone()
    owner = (await phones.row("SELECT owner_user_id FROM devices")).owner_user_id
    async with phones.database.unit_of_work() as uow:
        uow.emit(
            SessionStarted(
                audience=Audience.operators_and(owner),
                session_id=1,
                transaction_id=1,
                charge_box_id="CP-1",
                connector_id=1,
                started_at="2026-03-01T12:00:00.000Z",
            )
        )

    await phones.sender.send_due()

    assert phones.apple.requests == 0


async def test_there_are_no_other_pushes(phones: Phones) -> None:
    phone = await phones.phone()

    with pytest.raises(Exception, match="outgoing_pushes_kind_check"):
        await phones.execute(
            "INSERT INTO outgoing_pushes (device_id, kind, expires_at) VALUES (:phone, 'advertisement', now())",
            phone=phone,
        )


async def test_pushes_are_forgotten_after_a_week(phones: Phones) -> None:
    phone = await phones.phone()
    await phones.locate(phone)
    await phones.execute("UPDATE outgoing_pushes SET created_at = now() - interval '8 days'")
    await phones.locate(phone)

    await phones.sender.forget_old()

    assert len(await phones.rows("SELECT id FROM outgoing_pushes")) == 1
