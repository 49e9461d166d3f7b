"""Cards that are held to chargers and phones, for signing in and for looking at them."""

from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from polaris_common.identity.pairings import ScanTickets
from polaris_common.models import Pairing
from tests.support.gateway import GatewayWorld
from tests.support.phone import Phone, card_of, charger, register

PAIR, LOGIN, TARGETS = "/api/auth/scan-pair", "/api/auth/scan-login", "/api/auth/scan-tap-targets"
TAG = "04A1B2C3"


async def tap(world: GatewayWorld, tag: str = TAG, box: str = "CP-1", *, start: bool = False) -> str | None:
    """What SteVe is told when a card is held to a charger."""
    answer = await world.hook("pre-authorize", {"idTag": tag, "chargeBoxId": box, "isStartTx": start})
    override: str | None = answer.json()["override"]
    return override


async def arm(world: GatewayWorld, body: dict[str, Any] | None = None) -> httpx.Response:
    """A visitor asks a charger to read a card."""
    return await world.customer.post(PAIR, json=body or {"chargeBoxId": "ABCD2345"})


async def tapped(world: GatewayWorld, code: str) -> dict[str, Any]:
    """What the stream tells of the tap, with what the browser adds."""
    async with world.database.unit_of_work() as uow:
        pairing = (await uow.execute(select(Pairing).where(Pairing.code == code))).scalar_one()
    tickets: ScanTickets = world.app.state.resources.tickets
    target = {"chargeBoxId": pairing.target} if pairing.pairable_type == "charger" else {"deviceId": pairing.target}
    return {"pairingCode": code} | target | dict(tickets.tap(pairing))


async def ready(world: GatewayWorld, *, tag: str = TAG, **card: Any) -> tuple[UUID, dict[str, Any]]:
    """A driver whose card was just held to an armed charger: who, and the login that is due."""
    user_id = await world.user()
    await charger(world)
    await card_of(world, user_id, tag, **card)
    code = (await arm(world)).json()["pairingCode"]
    assert await tap(world, tag) == "BLOCKED"
    return user_id, await tapped(world, code)


async def online_phone(world: GatewayWorld, **changes: Any) -> Phone:
    """An operator's phone that can be asked for a card."""
    await world.operator()
    phone = await register(world, **changes)
    await phone.be_seen()
    return phone


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """An answer's status and error code."""
    return answer.status_code, answer.json()["error"]
