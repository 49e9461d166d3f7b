"""A SteVe with tags, our database, and the tag sync between them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_common.db import Database
from polaris_common.domain.meta_tag import meta_id_tag
from polaris_common.ids import new_public_id
from polaris_common.models import TagMapping, User
from polaris_common.settings import SteveSettings
from polaris_common.steve import SteveClient
from polaris_sim.clock import SimClock
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator, create_app
from sync_worker.tags.service import TagPolicy, TagSync
from tests.support.sql import WithDatabase

Before = Callable[[str, str], Awaitable[None]]


@dataclass
class Requests:
    """What SteVe was asked, and what happens right before it hears a request."""

    app: ASGIApp
    log: list[str] = field(default_factory=list)
    before: Before | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note a request and pass it on."""
        self.log.append(scope["method"])
        if self.before is not None:
            await self.before(scope["method"], scope["path"])
        await self.app(scope, receive, send)

    @property
    def writes(self) -> int:
        """How many requests could change something."""
        return sum(method != "GET" for method in self.log)


@dataclass
class TagCity(WithDatabase):
    """SteVe, the tag sync and our database."""

    steve: SteveSimulator
    clock: SimClock
    requests: Requests
    client: SteveClient
    tags: TagSync

    def with_policy(self, policy: TagPolicy) -> None:
        """Configure the sync otherwise."""
        self.tags = TagSync(self.database, self.client, policy)

    def limit(self, id_tag: str) -> int:
        """The limit that SteVe has."""
        return self.steve.tag(id_tag).max_active_transaction_count

    def limits(self, prefix: str) -> list[int]:
        """The limits of the tags whose names begin so."""
        return [tag.max_active_transaction_count for tag in self.steve.state.tags() if tag.id_tag.startswith(prefix)]

    async def tap(self, id_tag: str) -> str:
        """What the driver sees at a charger."""
        self.steve.add_charge_box("CP-1")
        return await self.steve.authorize("CP-1", id_tag)

    async def user(self, customer: str) -> UUID:
        """A customer with a portal user."""
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), email=f"{customer}@example.com", lago_customer_external_id=customer)
            uow.session.add(user)
            await uow.session.flush()
        return user.id

    async def meta_tag_name(self, user_id: UUID) -> str:
        """The name of the user's meta tag."""
        user = await self.row("SELECT public_id FROM users WHERE id = :id", id=user_id)
        return meta_id_tag(user.public_id)

    async def map(self, id_tag: str, customer: str | None = "customer", **columns: Any) -> int:
        """Link a tag to a customer; the mapping's id."""
        async with self.database.unit_of_work() as uow:
            mapping = TagMapping(id_tag=id_tag, lago_customer_external_id=customer, **columns)
            uow.session.add(mapping)
            await uow.session.flush()
        return mapping.id

    async def card(self, id_tag: str, customer: str = "customer", *, limit: int = -1, **tag: Any) -> int:
        """A tag in SteVe, linked to a customer with an active subscription; the mapping's id."""
        self.steve.add_tag(id_tag, max_active_transaction_count=limit, **tag)
        await self.subscribe(customer)
        return await self.map(id_tag, customer)

    async def subscribe(self, customer: str, *, status: str = "active") -> None:
        """The mirror shows a subscription."""
        await self.execute(
            "INSERT INTO lago_subscriptions (lago_id, external_id, external_customer_id, plan_code, status, payload)"
            " VALUES (:customer, 'sub-' || :customer, :customer, 'standard', :status, '{}')"
            " ON CONFLICT (lago_id) DO UPDATE SET status = excluded.status",
            customer=customer,
            status=status,
        )

    async def lago_was_read(self, minutes_ago: int = 0) -> None:
        """All of Lago's subscriptions have been read."""
        await self.execute(
            "INSERT INTO component_health (component, status, last_success_at)"
            " VALUES ('lago_mirror', 'ok', now() - make_interval(mins => :ago))"
            " ON CONFLICT (component) DO UPDATE SET last_success_at = excluded.last_success_at",
            ago=minutes_ago,
        )

    async def switch_off(self, id_tag: str, reason: str | None = "operator") -> None:
        """Somebody makes a mapping inactive."""
        await self.execute(
            "UPDATE tag_mappings SET is_active = false, deactivation_reason = :reason WHERE id_tag = :tag",
            tag=id_tag,
            reason=reason,
        )

    async def switch_on(self, id_tag: str) -> None:
        """Somebody makes a mapping active."""
        await self.execute(
            "UPDATE tag_mappings SET is_active = true, deactivation_reason = NULL WHERE id_tag = :tag", tag=id_tag
        )

    async def changes(self, id_tag: str) -> list[tuple[str, str]]:
        """The log of a tag: (change, reason)."""
        query = "SELECT change_type, reason FROM tag_change_log WHERE id_tag = :tag ORDER BY id"
        return [(row.change_type, row.reason) for row in await self.rows(query, tag=id_tag)]


@asynccontextmanager
async def build_city(database: Database, profile: Profile = Profile.V3_12_FORK) -> AsyncIterator[TagCity]:
    """A city whose SteVe has no tags."""
    clock = SimClock(speed=0)
    steve = SteveSimulator(SteveConfig(profile=profile, api_password="steve-password", clock=clock))
    requests = Requests(create_app(steve))
    client = SteveClient(
        SteveSettings(
            STEVE_BASE_URL="http://steve.test/steve", steve_api_username="polaris", steve_api_key="steve-password"
        ),
        transport=httpx.ASGITransport(requests),
    )
    yield TagCity(database, steve, clock, requests, client, TagSync(database, client))
    await client.close()
    await steve.aclose()
