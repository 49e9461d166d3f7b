"""Pushes as Apple wants them, and what its answers mean."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.integration.notifier.push.conftest import TOKEN, Phones

from notifier.push import apns as apns_module
from notifier.push.apns import Apns
from notifier.push.provider_token import ProviderToken
from notifier.push.service import PushSender
from polaris_common.settings import ApnsSettings
from polaris_sim.apns import ApnsServer, ApnsSimulator, Fault, Trouble


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


def test_a_clock_that_jumps_back_makes_a_new_token() -> None:
    apple = ApnsSimulator()
    settings = ApnsSettings(apns_key_id="K", apns_team_id="T", apns_key_base64=SecretStr(apple.config.key_base64))
    provider = ProviderToken(settings, apple.config.clock)
    first = provider.current()
    apple.config.clock.advance(-7200)

    assert provider.current() != first
