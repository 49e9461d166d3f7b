"""Requests to the hooks as SteVe sends them, as it does not, and as somebody who has caught one does."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.types import Message
from tests.support.gateway import METER_VALUES_KEY, PRE_AUTHORIZE_KEY, GatewayWorld, meter_values, sign

from gateway.app import create_app
from gateway.settings import GatewaySettings
from polaris_common.identity.pairings import PairingRepository, Target
from polaris_common.models import PairableType, PairingPurpose

PROBE = b'{"idTag":"TEST","chargeBoxId":"TEST","connectorId":1,"isStartTx":false,"ts":0}'
"""The body of the documented probe, to the letter."""
OTHER_KEY = "another-key-of-more-than-32-characters"
PATHS = {"pre-authorize": PRE_AUTHORIZE_KEY, "meter-values": METER_VALUES_KEY}
TAP = {"idTag": "04A1B2C3", "chargeBoxId": "CP-1", "connectorId": 1, "isStartTx": False}
TABLES = ("meter_readings", "live_meters", "tap_decisions", "charger_cadence", "auth_audit")


@asynccontextmanager
async def _gateway(monkeypatch: pytest.MonkeyPatch, **changes: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose environment differs; SteVe, calling it."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    app = create_app(GatewaySettings())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway:8000") as steve:
            yield steve


async def _post(steve: httpx.AsyncClient, path: str, body: object, key: str) -> tuple[int, dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await steve.post(f"/api/ocpp/{path}", content=raw, headers={"x-signature": sign(key, raw)})
    return answer.status_code, answer.json()


async def _rows(world: GatewayWorld) -> dict[str, int]:
    await world.app.state.resources.tap_recorder.write()
    async with world.database.unit_of_work() as uow:
        query = "SELECT count(*) FROM {}"
        return {table: (await uow.execute(text(query.format(table)))).scalar_one() for table in TABLES}


async def _sent(app: FastAPI, path: str, *messages: Message | float, signature: str = "0" * 64) -> tuple[int, Any]:
    """The answer to a request whose body arrives in ``messages``, with pauses; the last one repeats."""
    waiting, answer = list(messages), []

    async def receive() -> Message:
        message = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(message, float):
            await asyncio.sleep(message)
            return await receive()
        return message

    async def send(message: Message) -> None:
        answer.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"gateway:8000"), (b"x-signature", signature.encode())],
        "client": ("127.0.0.1", 40_000),
        "server": ("gateway", 8000),
    }
    await app(scope, receive, send)
    return answer[0]["status"], json.loads(answer[1]["body"])


async def signed_here(body: bytes) -> str:
    """The signature, computed by Python."""
    return sign(PRE_AUTHORIZE_KEY, body)


async def signed_by_openssl(body: bytes) -> str:
    """The signature, computed by the command that the documentation prints."""
    command = ["openssl", "dgst", "-sha256", "-hmac", PRE_AUTHORIZE_KEY, "-hex"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate(body)
    return printed.decode().split()[-1]


SIGNERS = [signed_here, *([signed_by_openssl] if shutil.which("openssl") else [])]
"""Everybody at hand who can sign; a machine need not have openssl."""


@pytest.mark.parametrize("signer", SIGNERS)
async def test_the_documented_probe_is_answered_null_whoever_signs_it(
    world: GatewayWorld, signer: Callable[[bytes], Awaitable[str]]
) -> None:
    answer = await world.hook("pre-authorize", PROBE, signature=await signer(PROBE))

    assert (answer.status_code, answer.content) == (200, b'{"override":null}')


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_breaks_off_is_invalid_and_changes_nothing(world: GatewayWorld, path: str) -> None:
    before = await _rows(world)
    part = {"type": "http.request", "body": b'{"idTag":', "more_body": True}

    answer = await _sent(world.app, f"/api/ocpp/{path}", part, {"type": "http.disconnect"})

    assert (answer[0], answer[1]["error"]) == (400, "invalid_body")
    assert await _rows(world) == before


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_takes_too_long_is_invalid_and_changes_nothing(
    world: GatewayWorld, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ocpp.signatures.BODY_SECONDS", 0.05)
    before = await _rows(world)
    drip: Message = {"type": "http.request", "body": b" ", "more_body": True}

    answer = await _sent(world.app, f"/api/ocpp/{path}", drip, 0.02, drip, 60.0, drip)

    assert (answer[0], answer[1]["error"]) == (400, "invalid_body")
    assert await _rows(world) == before


async def test_a_body_in_many_parts_is_one_body(world: GatewayWorld) -> None:
    parts: list[Message] = [{"type": "http.request", "body": bytes([byte]), "more_body": True} for byte in PROBE]
    end: Message = {"type": "http.request", "body": b"", "more_body": False}

    status, answer = await _sent(
        world.app, "/api/ocpp/pre-authorize", *parts, end, signature=sign(PRE_AUTHORIZE_KEY, PROBE)
    )

    assert (status, answer) == (200, {"override": None})


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_refused_changes_nothing(world: GatewayWorld, path: str) -> None:
    good = json.dumps(TAP if path == "pre-authorize" else meter_values()).encode()
    before = await _rows(world)
    refused = {
        401: [(good, "0" * 64), (good + b" ", sign(PATHS[path], good)), (good, sign(OTHER_KEY, good)), (b"", "")],
        400: [(each, sign(PATHS[path], each)) for each in (b"", b"{}", b"[]", b"\xff", good[:-1])],
        413: [(b" " * 70_000, sign(PATHS[path], b" " * 70_000))],
    }

    for status, requests in refused.items():
        for body, signature in requests:
            assert (await world.hook(path, body, signature=signature)).status_code == status
    assert await _rows(world) == before


async def test_the_hooks_answer_only_posts(world: GatewayWorld) -> None:
    answer = await world.steve.get("/api/ocpp/pre-authorize")

    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")


async def test_no_rate_limit_counts_the_hooks(world: GatewayWorld) -> None:
    requests = [world.hook("pre-authorize", TAP) for _ in range(200)]
    requests += [world.hook("meter-values", meter_values(1 + n)) for n in range(200)]

    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}


async def test_while_a_key_is_changed_the_old_and_the_new_one_are_good(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _gateway(monkeypatch, STEVE_PREAUTH_HMAC_KEY_B=OTHER_KEY) as steve:
        for key, status in {PRE_AUTHORIZE_KEY: 200, OTHER_KEY: 200, METER_VALUES_KEY: 401}.items():
            assert (await _post(steve, "pre-authorize", TAP, key))[0] == status
        assert (await _post(steve, "meter-values", meter_values(), OTHER_KEY))[0] == 401
    async with _gateway(
        monkeypatch, STEVE_PREAUTH_HMAC_KEY_B="", STEVE_METERVALUE_HMAC_KEY="", STEVE_METERVALUE_HMAC_KEY_B=OTHER_KEY
    ) as steve:
        for key, status in {OTHER_KEY: 200, METER_VALUES_KEY: 401, PRE_AUTHORIZE_KEY: 401}.items():
            assert (await _post(steve, "meter-values", meter_values(), key))[0] == status


async def test_without_keys_both_hooks_refuse(settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _gateway(monkeypatch, STEVE_PREAUTH_HMAC_KEY="", STEVE_METERVALUE_HMAC_KEY="") as steve:
        assert (await _post(steve, "pre-authorize", TAP, ""))[1]["error"] == "unauthorized"
        assert (await _post(steve, "meter-values", meter_values(), ""))[0] == 401


async def test_switched_off_pre_authorize_is_unavailable_and_meter_values_go_on(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _gateway(monkeypatch, STEVE_PREAUTH_ENABLED="false") as steve:
        assert (await _post(steve, "pre-authorize", TAP, PRE_AUTHORIZE_KEY))[0] == 503
        assert (await _post(steve, "meter-values", meter_values(), METER_VALUES_KEY))[0] == 200
        methods = await steve.get("/api/auth/methods", headers={"host": "polaris.test"})
        assert "scan" not in methods.text


async def _arm(world: GatewayWorld) -> None:
    async with world.database.unit_of_work() as uow:
        target = Target(PairableType.CHARGER, "CP-1")
        await PairingRepository(uow).arm(target, purpose=PairingPurpose.LOGIN, ip_address=None)


async def test_where_taps_are_signed_with_their_time_old_ones_and_timeless_ones_are_refused(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    async with _gateway(monkeypatch, STEVE_PREAUTH_MAX_AGE_SECONDS="60") as steve:
        for ts, status in {
            int(now): 200,
            int(now * 1000): 200,
            int(now) - 120: 401,
            int(now * 1000) + 120_000: 401,
            0: 401,
        }.items():
            assert (await _post(steve, "pre-authorize", TAP | {"ts": ts}, PRE_AUTHORIZE_KEY))[0] == status
        assert (await _post(steve, "pre-authorize", TAP, PRE_AUTHORIZE_KEY))[0] == 401


async def test_a_tap_that_somebody_caught_signs_nobody_in_when_it_is_sent_again(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time() * 1000)
    tap = TAP | {"ts": now}
    async with _gateway(monkeypatch, STEVE_PREAUTH_MAX_AGE_SECONDS="60") as steve:
        assert (await _post(steve, "pre-authorize", tap, PRE_AUTHORIZE_KEY))[1] == {"override": None}
        await _arm(world)

        assert (await _post(steve, "pre-authorize", tap, PRE_AUTHORIZE_KEY))[1] == {"override": None}

        another = tap | {"ts": now + 1}
        assert (await _post(steve, "pre-authorize", another, PRE_AUTHORIZE_KEY))[1] == {"override": "BLOCKED"}


async def test_without_redis_a_signed_time_still_counts_and_taps_are_decided(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _gateway(monkeypatch, STEVE_PREAUTH_MAX_AGE_SECONDS="60", REDIS_URL="redis://127.0.0.1:1/0") as steve:
        fresh = TAP | {"ts": int(time.time())}
        assert await _post(steve, "pre-authorize", fresh, PRE_AUTHORIZE_KEY) == (200, {"override": None})
        assert (await _post(steve, "pre-authorize", TAP | {"ts": 5}, PRE_AUTHORIZE_KEY))[0] == 401


async def test_a_card_that_waits_to_sign_somebody_in_is_written_down_as_such(world: GatewayWorld) -> None:
    await _arm(world)
    answers = await asyncio.gather(*(world.hook("pre-authorize", TAP) for _ in range(5)))

    assert {answer.content for answer in answers} == {b'{"override":"BLOCKED"}'}
    await world.app.state.resources.tap_recorder.write()
    async with world.database.unit_of_work() as uow:
        reasons = (await uow.execute(text("SELECT reason, blocked, count(*) FROM tap_decisions GROUP BY 1, 2"))).all()
    assert [tuple(row) for row in reasons] == [("sign_in", True, 5)]
