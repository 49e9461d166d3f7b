"""A gateway under test: its environment, the people who use it and SteVe who calls it."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select

from gateway.settings import GatewaySettings
from polaris_common.db import Database
from polaris_common.http.limits import Turns
from polaris_common.identity.passwords import hash_password
from polaris_common.ids import new_public_id
from polaris_common.models import Account, AuthAudit, ChargingSession, Role, User
from tests.support.mail import mail_environment

ADMIN_URL = "https://manage.polaris.test"
CUSTOMER_URL = "https://polaris.test"
PASSWORD = "correct horse battery"
PRE_AUTHORIZE_KEY = "pre-authorize-key-of-32-characters!!"
METER_VALUES_KEY = "meter-values-key-of-32-characters!!!"
LAGO_WEBHOOK_KEY = "key-of-the-lago-organization"
PATIENT_SECONDS = 10.0
"""In place of the budgets of production, where a busy machine is not to be taken for a slow database."""
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def gateway_environment(database_url: str, redis_url: str) -> dict[str, str]:
    """A complete environment for a gateway."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AUTH_SECRET": "a-secret-of-more-than-32-characters-",
        "ADMIN_BASE_URL": ADMIN_URL,
        "CUSTOMER_BASE_URL": CUSTOMER_URL,
        "COOKIE_DOMAIN": ".polaris.test",
        "STEVE_PREAUTH_HMAC_KEY": PRE_AUTHORIZE_KEY,
        "STEVE_METERVALUE_HMAC_KEY": METER_VALUES_KEY,
        "LAGO_WEBHOOK_HMAC_KEY": LAGO_WEBHOOK_KEY,
        **dict(mail_environment()),
    }


@dataclass
class GatewayWorld:
    """A running gateway and what a test needs around it."""

    app: FastAPI
    settings: GatewaySettings
    database: Database
    admin: httpx.AsyncClient
    """A browser on the admin surface."""
    customer: httpx.AsyncClient
    """A browser on the customer surface."""
    steve: httpx.AsyncClient
    """SteVe, calling by an internal name."""

    def never_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let everybody call as often as they like."""

        async def spend(*_: object) -> Turns:
            return Turns(1, 1, 0.0)

        monkeypatch.setattr(self.app.state.resources.limits, "spend", spend)

    async def user(
        self,
        role: Role = Role.CUSTOMER,
        *,
        email: str | None = "ann@example.org",
        password: bool = True,
        superadmin: bool = False,
    ) -> UUID:
        """A person; with ``PASSWORD`` unless ``password`` is False."""
        async with self.database.unit_of_work() as uow:
            values: dict[str, Any] = {"public_id": new_public_id(), "name": "Ann", "email": email, "role": role}
            values["superadmin"] = superadmin
            user_id: UUID = (await uow.execute(insert(User).values(values).returning(User.id))).scalar_one()
            if password:
                account = {"user_id": user_id, "provider_id": "credential", "account_id": str(user_id)}
                hashed = await hash_password(PASSWORD)
                await uow.execute(insert(Account).values(**account, password_hash=hashed))
        return user_id

    async def sign_in(self, browser: httpx.AsyncClient, email: str = "ann@example.org", **more: Any) -> httpx.Response:
        """Sign in with ``PASSWORD``; the browser keeps the cookie."""
        return await browser.post(
            "/api/auth/sign-in/email",
            json={"email": email, "password": PASSWORD, **more},
            headers={"origin": str(browser.base_url).rstrip("/")},
        )

    async def driver(self, email: str = "ann@example.org") -> UUID:
        """A driver, signed in on the customer browser."""
        user_id = await self.user(email=email)
        assert (await self.sign_in(self.customer, email)).status_code == 200
        return user_id

    async def operator(self, email: str = "op@example.org", *, superadmin: bool = False) -> UUID:
        """An operator, signed in on the admin browser."""
        user_id = await self.user(Role.ADMIN, email=email, superadmin=superadmin)
        assert (await self.sign_in(self.admin, email)).status_code == 200
        return user_id

    async def audited(self, event: str) -> list[AuthAudit]:
        """The audit's rows of one kind, oldest first."""
        async with self.database.unit_of_work() as uow:
            query = select(AuthAudit).where(AuthAudit.event == event).order_by(AuthAudit.id)
            return list((await uow.execute(query)).scalars())

    async def session(self, user_id: UUID | None, transaction: int, **values: Any) -> int:
        """A charging session: open, started at noon with 1000 Wh, unless ``values`` say otherwise."""
        row = {
            "steve_transaction_id": transaction,
            "charge_box_id": "CP-1",
            "connector_id": 1,
            "id_tag": "04A1B2C3",
            "started_at": START + timedelta(minutes=transaction),
            "start_wh": 1000,
            "user_id": user_id,
        } | values
        async with self.database.unit_of_work() as uow:
            added = insert(ChargingSession).values(**row).returning(ChargingSession.id)
            session_id: int = (await uow.execute(added)).scalar_one()
        return session_id

    async def hook(
        self, path: str, body: object, *, key: str | None = None, signature: str | None = None
    ) -> httpx.Response:
        """Call a hook as SteVe does; ``body`` as raw bytes or as a value for JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        usual = METER_VALUES_KEY if path == "meter-values" else PRE_AUTHORIZE_KEY
        sent = sign(key or usual, raw) if signature is None else signature
        return await self.steve.post(f"/api/ocpp/{path}", content=raw, headers={"x-signature": sent})


def sign(key: str, body: bytes) -> str:
    """``X-Signature`` over ``body``."""
    return hmac.digest(key.encode(), body, hashlib.sha256).hex()


def meter_values(transaction: int = 7, wh: object = "1500", **changes: Any) -> dict[str, Any]:
    """A meter-values body with one register sample."""
    return {
        "chargeBoxId": "CP-1",
        "transactionPk": transaction,
        "connectorId": 1,
        "timestamp": "2026-03-01T12:05:00.000Z",
        "samples": [{"value": wh, "measurand": "Energy.Active.Import.Register", "unit": "Wh"}],
    } | changes
