"""A gateway whose requests are processes of their own: each may be killed or lose its connection at any step."""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, text

from gateway.app import create_app
from gateway.devices import registration
from gateway.settings import GatewaySettings
from polaris_common.db import Database
from polaris_common.identity.principals import Operator
from polaris_common.identity.sessions import cookie_name, open_session
from polaris_common.models import Role, User
from polaris_common.settings import DatabaseSettings
from tests.chaos.mortal import Killed, Lifeline, MortalDatabase
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld, gateway_environment

OPERATORS = ("operator", "superadmin")
VICTIMS = ("ann@example.org", "bob@example.org")
"""Whom operators may do anything to."""

_LIFELINE: ContextVar[Lifeline] = ContextVar("lifeline of the request")
_EMPTIED = ("idempotency_keys", "auth_audit", "domain_events", "outgoing_mails")


class ManyProcesses(MortalDatabase):
    """One pool for requests that die one by one."""

    @property
    def lifeline(self) -> Lifeline:
        """That of the request at hand."""
        return _LIFELINE.get(self._nobody)

    @lifeline.setter
    def lifeline(self, value: Lifeline) -> None:
        self._nobody = value


@dataclass
class Portal:
    """The gateway, its operators, and a view past it into the database."""

    world: GatewayWorld
    cookies: Mapping[str, str]
    victims: Sequence[UUID]
    superadmin: UUID
    secrets: set[str] = field(default_factory=set)
    """What nobody may ever find in a row."""

    async def begin(self) -> None:
        """A new example: nobody has asked for anything."""
        for table in _EMPTIED:
            await self.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self.secrets = {cookie.partition("=")[2] for cookie in self.cookies.values()}

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str], body: Any, lifeline: Lifeline
    ) -> httpx.Response | None:
        """One request in a process of its own; None when that was killed."""
        _LIFELINE.set(lifeline)
        base = ADMIN_URL if path.startswith("/api/admin") else CUSTOMER_URL
        try:
            return await self.world.steve.request(method, base + path, json=body, headers={"origin": base, **headers})
        except Killed:
            return None

    async def code(self, verifier: str) -> str:
        """A one-time code for registering a device."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        async with self.world.database.unit_of_work() as uow:
            operator = Operator(self.superadmin)
            return await registration.mint(uow, operator, challenge=challenge, label="Phone")

    async def execute(self, statement: str) -> None:
        """Run SQL."""
        async with self.world.database.unit_of_work() as uow:
            await uow.execute(text(statement))

    async def rows(self, query: str) -> Sequence[Any]:
        """The rows of a query."""
        async with self.world.database.unit_of_work() as uow:
            return (await uow.execute(text(query))).all()


@asynccontextmanager
async def opened_portal(database_url: str, redis_url: str, patch: pytest.MonkeyPatch) -> AsyncIterator[Portal]:
    """A gateway on an empty database."""
    for name, value in gateway_environment(database_url, redis_url).items():
        patch.setenv(name, value)
    patch.setattr("gateway.devices.endpoints.FLOOR_MS", (0, 0))
    settings = GatewaySettings()
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        address = DatabaseSettings(database_url=database_url)
        database, mortal = Database(address, application_name="test"), ManyProcesses(address, application_name="chaos")
        stack.push_async_callback(database.close)
        stack.push_async_callback(mortal.close)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport))
        world = GatewayWorld(app, settings, database, http, http, http)
        world.never_limit(patch)
        users, cookies = {}, {}
        for name in OPERATORS:
            users[name] = await world.user(
                Role.ADMIN, email=f"{name}@example.org", password=False, superadmin=name == "superadmin"
            )
            cookies[name] = await _signed_in(database, users[name])
        victims = [await world.user(email=email, password=False) for email in VICTIMS]
        app.state.resources = replace(app.state.resources, database=mortal)
        yield Portal(world, cookies, victims, users["superadmin"])


async def _signed_in(database: Database, user_id: UUID) -> str:
    async with database.unit_of_work() as uow:
        user = (await uow.session.scalars(select(User).where(User.id == user_id))).one()
        lifetime = timedelta(days=1)
        token = await open_session(uow, user, lifetime=lifetime, ip_address=None, user_agent=None)
    return f"{cookie_name(secure=True)}={token}"
