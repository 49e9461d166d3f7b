"""Phones with the app, and what they send."""

import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select, text

from polaris_common.identity.devices import decoded, scan_signature
from polaris_common.models import Charger, DomainEventRow, TagMapping, User
from tests.support.gateway import ADMIN_URL, GatewayWorld

PUSH_TOKEN = base64.b64encode(bytes(range(32))).decode()
CODE = re.compile(r'href="expchg://register/callback\?code=([A-Za-z0-9_-]+)"')


def details(**changes: Any) -> dict[str, Any]:
    """What the app tells about its phone, as both sign-ins want it."""
    return {
        "deviceLabel": "Ann's iPhone",
        "platform": "ios",
        "model": "iPhone",
        "osVersion": "26.0",
        "appVersion": "1.0.0 (5)",
        "apnsEnvironment": "production",
    } | changes


@dataclass
class Pkce:
    """A verifier and its challenge."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def challenge(self) -> str:
        """S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def registration(code: str, pkce: Pkce, **changes: Any) -> dict[str, Any]:
    """The body of a registration."""
    return {
        "oneTimeCode": code,
        "codeVerifier": pkce.verifier,
        "label": "Reception",
        "platform": "ios",
        "model": "iPhone16,2",
        "osVersion": "26.0",
        "appVersion": "1.0.0",
        "pushToken": "",
        "apnsEnvironment": "production",
        "requestedCapabilities": ["scanner", "user"],
    } | changes


@dataclass
class Phone:
    """A registered phone with its credentials."""

    world: GatewayWorld
    device_id: str
    token: str
    secret: str
    host: str = ADMIN_URL

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call as the app does: bearer, no cookie, no origin."""
        headers = {"authorization": f"Bearer {self.token}", "host": self.host.partition("://")[2]} | more.pop(
            "headers", {}
        )
        return await self.world.steve.request(method, path, headers=headers, **more)

    def scan(self, id_tag: str, code: str, *, ts: int | None = None, secret: str | None = None) -> dict[str, Any]:
        """The body that tells of a card, signed."""
        ts = int(time.time()) if ts is None else ts
        nonce = scan_signature(
            decoded(secret or self.secret),
            id_tag=id_tag.upper(),
            pairing_code=code,
            device_id=UUID(self.device_id),
            ts=ts,
        )
        return {"idTag": id_tag, "pairingCode": code, "ts": ts, "nonce": nonce}

    async def tell(self, id_tag: str, code: str, **more: Any) -> httpx.Response:
        """Tell of a card."""
        return await self.call("POST", "/api/devices/scan-result", json=self.scan(id_tag, code, **more))

    async def be_seen(self, ago: str = "1 second") -> None:
        """Was online a moment ago."""
        await execute(
            self.world,
            "UPDATE devices SET last_seen_at = now() - CAST(CAST(:ago AS text) AS interval)"
            " WHERE id = CAST(:id AS uuid)",
            ago=ago,
            id=self.device_id,
        )


async def code_for(world: GatewayWorld, pkce: Pkce, **query: str) -> str:
    """A registration code from the page, as the signed-in operator's browser gets it."""
    page = await world.admin.get("/app/register", params={"codeChallenge": pkce.challenge, **query})
    found = CODE.search(page.text)
    assert found, page.text
    return found.group(1)


async def register(world: GatewayWorld, **changes: Any) -> Phone:
    """A phone of the operator who is signed in on the admin browser."""
    pkce = Pkce()
    code = await code_for(world, pkce)
    answer = await world.steve.post(
        "/api/devices/register", json=registration(code, pkce, **changes), headers={"host": "manage.polaris.test"}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Phone(world, body["deviceId"], body["deviceToken"], body["deviceSecret"])


async def printed_id(world: GatewayWorld, user_id: UUID) -> str:
    """The number on a driver's card."""
    return str(await value(world, "SELECT printed_id FROM qr_cards WHERE user_id = :id", id=user_id))


async def qr_sign_in(world: GatewayWorld, card: str, *, host: str = ADMIN_URL, **changes: Any) -> httpx.Response:
    """Sign in with a card's number, as the app does."""
    return await world.steve.post(
        "/api/auth/qr-sign-in",
        json=details(**changes) | {"userPublicId": card},
        headers={"host": host.partition("://")[2]},
    )


def phone_of(world: GatewayWorld, answer: httpx.Response) -> Phone:
    """The phone that an app sign-in registered."""
    body = answer.json()
    return Phone(world, body["device"]["id"], body["token"]["deviceToken"], body["token"]["deviceSecret"])


async def charger(world: GatewayWorld, charge_box_id: str = "CP-1", public_id: str = "ABCD2345") -> str:
    """A charger with a sticker; its public id."""
    async with world.database.unit_of_work() as uow:
        uow.session.add(Charger(charge_box_id=charge_box_id, public_id=public_id))
    return public_id


async def card_of(world: GatewayWorld, user_id: UUID | None, id_tag: str = "04A1B2C3", **columns: Any) -> None:
    """An RFID card."""
    async with world.database.unit_of_work() as uow:
        uow.session.add(TagMapping(id_tag=id_tag, user_id=user_id, **columns))


async def events(world: GatewayWorld, kind: str) -> list[dict[str, Any]]:
    """The payloads of a kind of event, with their audiences."""
    async with world.database.unit_of_work() as uow:
        rows = (await uow.execute(select(DomainEventRow).where(DomainEventRow.type == kind))).scalars()
        return [dict(row.payload) | {"audience": list(row.audience)} for row in rows]


async def execute(world: GatewayWorld, statement: str, **values: Any) -> None:
    """Run SQL."""
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(statement), values)


async def value(world: GatewayWorld, query: str, **values: Any) -> Any:
    """The only value of a query."""
    async with world.database.unit_of_work() as uow:
        return (await uow.execute(text(query), values)).scalar_one()


async def user_row(world: GatewayWorld, user_id: UUID) -> User:
    """A person."""
    async with world.database.unit_of_work() as uow:
        user: User = (await uow.execute(select(User).where(User.id == user_id))).scalar_one()
    return user
