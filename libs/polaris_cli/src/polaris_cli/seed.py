"""Filling an empty installation: people and cards in our database, stations and tags in SteVe, customers in Lago."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from polaris_cli.problems import CommandError
from polaris_common.clock import to_wire
from polaris_common.db import Database, UnitOfWork
from polaris_common.ids import new_public_id
from polaris_common.models import Account, Role, TagMapping, User

CREDENTIAL = "credential"
PLAN = "kwh"


@dataclass(frozen=True)
class Person:
    """Somebody to be: an operator, or a driver with one card and one Lago customer with one subscription."""

    name: str
    email: str
    role: Role = Role.CUSTOMER
    password_hash: str | None = None
    id_tag: str | None = None
    customer: str | None = None

    @property
    def subscription(self) -> str | None:
        """The external id of the one subscription."""
        return None if self.customer is None else subscription_of(self.customer)


def subscription_of(customer: str) -> str:
    """The external id of a seeded customer's subscription."""
    return f"{customer}-sub"


async def seed_people(database: Database, people: Sequence[Person]) -> None:
    """Create users, sign-ins and card mappings; those that exist stay, but for their passwords."""
    async with database.unit_of_work() as uow:
        await uow.execute(insert(User).on_conflict_do_nothing(), [_user(person) for person in people])
        query = select(func.lower(User.email).label("email"), User.id)
        ids = {row.email: row.id for row in (await uow.execute(query)).all()}
        await _seed_sign_ins(uow, people, ids)
        cards = [_mapping(person, ids[person.email.lower()]) for person in people if person.id_tag]
        if cards:
            await uow.execute(insert(TagMapping).on_conflict_do_nothing(), cards)


async def _seed_sign_ins(uow: UnitOfWork, people: Sequence[Person], ids: Mapping[str, Any]) -> None:
    accounts = [
        {
            "user_id": ids[person.email.lower()],
            "provider_id": CREDENTIAL,
            "account_id": str(ids[person.email.lower()]),
            "password_hash": person.password_hash,
        }
        for person in people
        if person.password_hash is not None
    ]
    if accounts:
        statement = insert(Account)
        changed = {"password_hash": statement.excluded.password_hash, "updated_at": text("now()")}
        await uow.execute(
            statement.on_conflict_do_update(constraint="accounts_provider_account_key", set_=changed), accounts
        )


def _user(person: Person) -> dict[str, Any]:
    return {
        "public_id": new_public_id(),
        "name": person.name,
        "email": person.email,
        "role": person.role.value,
        "superadmin": person.role is Role.ADMIN,
        "lago_customer_external_id": person.customer,
    }


def _mapping(person: Person, user_id: Any) -> dict[str, Any]:
    return {
        "id_tag": person.id_tag,
        "user_id": user_id,
        "lago_customer_external_id": person.customer,
        "lago_subscription_external_id": person.subscription,
        "display_name": f"Card of {person.name}",
    }


async def seed_steve(http: httpx.AsyncClient, steve_url: str, boxes: Mapping[str, int], id_tags: Sequence[str]) -> None:
    """Add charge boxes (id → connectors) and tags that may charge without limit to the simulated SteVe."""
    await post(
        http,
        f"{steve_url}/_sim/charge-boxes",
        [{"chargeBoxId": box, "connectors": connectors} for box, connectors in boxes.items()],
    )
    tags = [{"idTag": id_tag, "maxActiveTransactionCount": -1} for id_tag in id_tags]
    await post(http, f"{steve_url}/_sim/tags", tags)


async def seed_lago(
    http: httpx.AsyncClient, lago_url: str, people: Sequence[Person], *, metric_code: str, since: datetime
) -> None:
    """Add the metric, a plan per kWh, and a customer with a subscription since ``since`` for each driver."""
    drivers = [person for person in people if person.customer is not None]
    metric = {"code": metric_code, "name": "Charging", "aggregation_type": "sum_agg", "field_name": "value"}
    charge = {"billable_metric_code": metric_code, "charge_model": "standard", "properties": {"amount": "0.39"}}
    plan = {
        "code": PLAN,
        "name": "Pay per kWh",
        "interval": "monthly",
        "amount_cents": 0,
        "amount_currency": "EUR",
        "charges": [charge],
    }
    customers = [{"external_id": one.customer, "name": one.name, "email": one.email} for one in drivers]
    subscriptions = [
        {
            "external_id": one.subscription,
            "external_customer_id": one.customer,
            "plan_code": PLAN,
            "subscription_at": to_wire(since),
        }
        for one in drivers
    ]
    body = {"billable_metrics": [metric], "plans": [plan], "customers": customers, "subscriptions": subscriptions}
    await post(http, f"{lago_url}/_sim/seed", body)


async def post(http: httpx.AsyncClient, url: str, body: object, *, method: str = "POST") -> Any:
    """Tell a simulator something; its JSON answer.

    Raises:
        CommandError: it refuses or does not answer.
    """
    try:
        response = await http.request(method, url, json=body) if body is not None else await http.request(method, url)
    except httpx.HTTPError as error:
        raise CommandError(f"The simulator at {url} did not answer ({type(error).__name__}).") from None
    if not response.is_success:
        raise CommandError(f"The simulator at {url} refused: {response.text[:200]}")
    return response.json()
