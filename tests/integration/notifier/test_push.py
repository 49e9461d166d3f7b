"""Pushes leave the queue: as Apple wants them, once at most, never late, and only to who is asked to read a card."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import insert
from tests.integration.notifier.conftest import StreamWorld, until
from tests.support.sql import WithDatabase

from notifier.push import apns as apns_module
from notifier.push.apns import Apns
from notifier.push.provider_token import ProviderToken
from notifier.push.service import PushSender
from polaris_common.db import Database
from polaris_common.events.catalogue import Audience, SessionStarted
from polaris_common.identity.pairings import PairingRepository, Target
from polaris_common.ids import new_public_id
from polaris_common.models import AppDevice, DeviceSetting, PairableType, Pairing, PairingPurpose, Role, User
from polaris_common.push.queue import SCAN_REQUEST_SETTING, queue_locate_push, queue_scan_push
from polaris_common.settings import ApnsSettings
from polaris_sim.apns import ApnsServer, ApnsSimulator, Fault, Trouble

TOKEN = "ab" * 32


class Phones(WithDatabase):
    """Phones, and the sender that pushes to them by the stand-in of Apple's service."""

    def __init__(self, database: Database, apple: ApnsSimulator, server: ApnsServer) -> None:
        super().__init__(database)
        self.apple, self.server = apple, server
        self.transport = Apns(self.settings(), clock=apple.config.clock)
        self.sender = PushSender(database, self.transport)

    def settings(self, **changes: Any) -> ApnsSettings:
        """How the stand-in is reached; sandbox and production alike."""
        values: dict[str, Any] = {
            "apns_key_id": self.apple.config.key_id,
            "apns_team_id": self.apple.config.team_id,
            "apns_key_base64": SecretStr(self.apple.config.key_base64),
            "apns_production_url": self.server.url,
            "apns_sandbox_url": self.server.url,
            "apns_ca_file": self.server.ca_file,
        }
        return ApnsSettings(**(values | changes))

    async def phone(self, *, token: str | None = TOKEN, environment: str = "production") -> UUID:
        """Somebody's phone."""
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), role=Role.ADMIN)
            uow.session.add(user)
            await uow.session.flush()
            device = AppDevice(label="Phone", owner_user_id=user.id, push_token=token, apns_environment=environment)
            uow.session.add(device)
            await uow.session.flush()
        return device.id

    async def ask(
        self, phone: UUID, *, purpose: PairingPurpose = PairingPurpose.LOGIN, hint: str | None = None
    ) -> Pairing:
        """Arm a phone, as the gateway does."""
        async with self.database.unit_of_work() as uow:
            target = Target(PairableType.DEVICE, str(phone))
            pairing = await PairingRepository(uow).arm(target, purpose=purpose, ip_address=None, hint_label=hint)
            await queue_scan_push(uow, pairing, phone)
        return pairing

    async def locate(self, phone: UUID) -> UUID:
        """Ask a phone where it is."""
        async with self.database.unit_of_work() as uow:
            return await queue_locate_push(uow, phone)

    async def outcome(self) -> str | None:
        """What became of the latest push; None when there is none."""
        rows = await self.rows("SELECT outcome FROM outgoing_pushes ORDER BY created_at DESC LIMIT 1")
        return rows[0].outcome if rows else None

    async def due_again(self) -> None:
        """A pause is over."""
        await self.execute("UPDATE outgoing_pushes SET next_attempt_at = now() WHERE finished_at IS NULL")


@pytest.fixture
async def phones(database: Database, tmp_path: Path) -> AsyncIterator[Phones]:
    """Phones and Apple."""
    apple = ApnsSimulator()
    async with ApnsServer(apple, tmp_path) as server:
        made = Phones(database, apple, server)
        yield made
        await made.transport.close()


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


@pytest.mark.parametrize("environment", ["sandbox", "production"])
async def test_each_device_is_reached_by_its_own_environment(phones: Phones, tmp_path: Path, environment: str) -> None:
    other = ApnsSimulator(phones.apple.config)
    async with ApnsServer(other, tmp_path) as server:
        transport = Apns(phones.settings(apns_sandbox_url=server.url))
        await phones.ask(await phones.phone(environment=environment))

        await PushSender(phones.database, transport).send_due()
        await transport.close()

    assert (len(phones.apple.pushes), len(other.pushes)) == ((0, 1) if environment == "sandbox" else (1, 0))


async def test_the_key_signs_one_token_for_fifty_minutes_over_one_connection(phones: Phones) -> None:
    phone, clock = await phones.phone(), phones.apple.config.clock
    used = []
    for minutes in (0, 49, 2):
        clock.advance(minutes * 60)
        await phones.locate(phone)
        await phones.sender.send_due()
        used.append(phones.apple.pushes[-1].headers["authorization"])

    last = phones.apple.pushes[-1]
    assert used[0] == used[1] != used[2]
    assert last.provider_header == {"alg": "ES256", "kid": "SIMKEY0001", "typ": "JWT"}
    assert set(last.provider) == {"iss", "iat"}
    assert (last.provider["iss"], type(last.provider["iat"])) == ("SIMTEAM001", int)
    assert phones.server.connections_made == 1


async def test_a_token_that_apple_calls_too_old_is_made_anew_but_not_again_and_again(phones: Phones) -> None:
    phone, clock = await phones.phone(), phones.apple.config.clock
    await phones.locate(phone)
    await phones.sender.send_due()
    too_old = Fault(Trouble.ANSWER, 403, "ExpiredProviderToken")
    clock.advance(21 * 60)
    phones.apple.faults.append(too_old)
    await phones.locate(phone)
    await phones.sender.send_due()
    renewed = phones.apple.requests

    phones.apple.faults.append(too_old)
    await phones.locate(phone)
    await phones.sender.send_due()

    assert (len(phones.apple.pushes), renewed) == (2, 3)
    assert phones.apple.requests == renewed + 1
    assert await phones.outcome() == "ExpiredProviderToken"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Trouble.ANSWER, 410, "Unregistered"),
        Fault(Trouble.ANSWER, 410, "ExpiredToken"),
        Fault(Trouble.ANSWER, 400, "BadDeviceToken"),
    ],
    ids=lambda fault: f"{fault.status} {fault.reason}",
)
async def test_a_dead_token_is_forgotten_with_its_environment(phones: Phones, fault: Fault) -> None:
    phones.apple.faults.append(fault)
    await phones.ask(await phones.phone())

    await phones.sender.send_due()
    await phones.due_again()
    await phones.sender.send_due()

    device = await phones.row("SELECT push_token, apns_environment FROM devices")
    assert (device.push_token, device.apns_environment) == (None, None)
    assert (await phones.outcome(), phones.apple.requests) == (fault.reason, 1)


async def test_a_token_that_came_while_the_old_one_died_stays(phones: Phones) -> None:
    phone = await phones.phone()
    phones.apple.unregistered.add(TOKEN)
    await phones.ask(phone)
    [due] = await phones.sender._take()
    await phones.execute("UPDATE devices SET push_token = :token", token="cd" * 32)

    await phones.sender._send(due)

    assert (await phones.row("SELECT push_token FROM devices")).push_token == "cd" * 32


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Trouble.ANSWER, 429, "TooManyRequests"),
        Fault(Trouble.ANSWER, 500, "InternalServerError"),
        Fault(Trouble.ANSWER, 503, "Shutdown"),
    ],
    ids=lambda fault: f"{fault.status} {fault.reason}",
)
async def test_what_apple_did_not_take_is_tried_again_while_the_request_stands(phones: Phones, fault: Fault) -> None:
    phones.apple.faults.append(fault)
    await phones.ask(await phones.phone())

    await phones.sender.send_due()
    too_early = phones.apple.requests
    await phones.sender.send_due()
    waiting = (phones.apple.requests, await phones.outcome())
    await phones.due_again()
    await phones.sender.send_due()

    assert (too_early, waiting) == (1, (1, fault.reason))
    assert (len(phones.apple.pushes), await phones.outcome()) == (1, "sent")


async def test_a_service_in_trouble_is_not_tried_for_ever(phones: Phones) -> None:
    phones.apple.faults.extend([Fault(Trouble.ANSWER, 503, "ServiceUnavailable")] * 9)
    await phones.ask(await phones.phone())

    for _ in range(9):
        await phones.sender.send_due()
        await phones.due_again()

    assert (phones.apple.requests, await phones.outcome()) == (5, "ServiceUnavailable")


@pytest.mark.parametrize("reason", ["PayloadTooLarge", "TopicDisallowed", "InvalidProviderToken", "<b>no word</b>"])
async def test_a_refusal_is_final_and_says_why(phones: Phones, reason: str) -> None:
    phones.apple.faults.append(Fault(Trouble.ANSWER, 400, reason))
    await phones.ask(await phones.phone())

    await phones.sender.send_due()
    await phones.due_again()
    await phones.sender.send_due()

    assert phones.apple.requests == 1
    assert await phones.outcome() == (reason if reason.isalnum() else "HTTP_400")
    assert (await phones.row("SELECT push_token FROM devices")).push_token == TOKEN


@pytest.mark.parametrize("trouble", [Trouble.SILENCE, Trouble.DROP, Trouble.RESET])
async def test_what_may_have_arrived_is_not_sent_twice(
    phones: Phones, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apns_module, "TOTAL_SECONDS", 0.3)
    phones.apple.faults.append(Fault(trouble))
    await phones.ask(await phones.phone())

    await phones.sender.send_due()
    await phones.due_again()
    await phones.sender.send_due()
    await phones.ask(await phones.phone(token="cd" * 32))
    await phones.sender.send_due()

    outcomes = [row.outcome for row in await phones.rows("SELECT outcome FROM outgoing_pushes ORDER BY created_at")]
    assert (outcomes, phones.apple.requests) == (["NetworkError", "sent"], 2)


async def test_a_connection_that_apple_gives_up_in_order_loses_nothing(phones: Phones) -> None:
    phone = await phones.phone()
    await phones.locate(phone)
    await phones.sender.send_due()
    phones.apple.faults.append(Fault(Trouble.GO_AWAY))
    await phones.locate(phone)

    await phones.sender.send_due()

    assert (len(phones.apple.pushes), await phones.outcome()) == (2, "sent")
    assert phones.server.connections_made == 2


async def test_a_service_that_cannot_be_reached_is_tried_again(phones: Phones) -> None:
    away = Apns(phones.settings(apns_production_url="https://127.0.0.1:9"))
    await phones.ask(await phones.phone())
    await PushSender(phones.database, away).send_due()
    waiting = await phones.outcome()
    await phones.due_again()

    await phones.sender.send_due()
    await away.close()

    assert (waiting, len(phones.apple.pushes)) == ("NetworkError", 1)


async def test_a_stranger_s_certificate_is_not_believed(phones: Phones) -> None:
    gullible = Apns(phones.settings(apns_ca_file=None))
    await phones.ask(await phones.phone())

    await PushSender(phones.database, gullible).send_due()
    await gullible.close()

    assert (phones.apple.requests, await phones.outcome()) == (0, "NetworkError")


@pytest.mark.parametrize(
    "changes",
    [
        {"apns_key_id": None},
        {"apns_team_id": None},
        {"apns_key_base64": None},
        {"apns_key_base64": SecretStr("no base64!")},
        {"apns_key_base64": SecretStr("bm8ga2V5")},
    ],
    ids=["no key id", "no team", "no key", "no base64", "base64 of no key"],
)
async def test_without_a_usable_key_the_push_is_written_off_and_the_stream_goes_on(
    phones: Phones, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    unset = Apns(phones.settings(**changes))
    pairing = await phones.ask(await phones.phone())

    await PushSender(phones.database, unset).send_due()
    await unset.close()

    assert (phones.apple.requests, await phones.outcome()) == (0, "JwtSignFailed")
    assert (await phones.row("SELECT status FROM pairings")).status == pairing.status == "armed"
    assert "bm8ga2V5" not in capsys.readouterr().out


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


def test_a_clock_that_jumps_back_makes_a_new_token() -> None:
    apple = ApnsSimulator()
    settings = ApnsSettings(apns_key_id="K", apns_team_id="T", apns_key_base64=SecretStr(apple.config.key_base64))
    provider = ProviderToken(settings, apple.config.clock)
    first = provider.current()
    apple.config.clock.advance(-7200)

    assert provider.current() != first
