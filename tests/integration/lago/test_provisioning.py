"""The portal account of a Lago customer: found, or made, or refused for a reason (domain.md §3.7)."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.integration.lago.conftest import Town

from billing_bridge.provisioning import service
from billing_bridge.provisioning.repository import AccountRepository
from billing_bridge.provisioning.service import (
    EmailBelongsToAdmin,
    EmailLinkedToDifferentLagoCustomer,
    LagoCustomerNotFound,
    LagoEmailMalformed,
    LagoFetchFailed,
    ProvisioningError,
)
from polaris_sim.faults import Fault, FaultRule


async def resolve(town: Town, customer: str = "c-1") -> UUID:
    """Find or make the account."""
    return await town.accounts.resolve_or_create_customer_account(customer)


async def test_an_account_is_made_once(town: Town) -> None:
    town.customer(name="Ada Lovelace", email="Ada@Example.com")
    first = await resolve(town)
    assert await resolve(town) == first
    user = await town.row("SELECT id, email, name, role, lago_customer_external_id FROM users")
    assert tuple(user) == (first, "Ada@Example.com", "Ada Lovelace", "customer", "c-1")
    events = await town.events("customer.account.auto_provisioned")
    assert events == [{"userId": str(first), "externalCustomerId": "c-1"}]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": "Firm"}, "Firm"),
        ({"firstname": "Ada", "lastname": "Lovelace", "email": "a@example.com"}, "Ada Lovelace"),
        ({"email": "ada.l@example.com"}, "ada.l"),
        ({}, None),
    ],
)
async def test_the_name_is_the_best_that_lago_has(town: Town, fields: dict[str, Any], name: str | None) -> None:
    town.lago.customers.upsert({"external_id": "c-1", **fields})
    await resolve(town)
    assert (await town.row("SELECT name FROM users")).name == name


async def test_a_linked_account_is_found_without_asking_lago(town: Town) -> None:
    user = await town.user(lago_customer_external_id="c-1")
    assert await resolve(town) == user
    assert town.lago.requests == {}


async def test_an_account_that_owns_the_customers_card_is_found_and_linked(town: Town) -> None:
    user = await town.user()
    await town.card("c-1", user_id=user)
    assert await resolve(town) == user
    assert (await town.row("SELECT lago_customer_external_id AS c FROM users")).c == "c-1"


async def test_of_several_owners_the_newest_cards_wins(town: Town) -> None:
    older, newer = await town.user(), await town.user()
    await town.card("c-1", "A", user_id=older)
    await town.card("c-1", "B", user_id=newer)
    assert await resolve(town) == newer


async def test_a_free_account_with_the_address_is_taken(town: Town) -> None:
    user = await town.user(email="ADA@example.com")
    town.customer(email="ada@example.com")
    assert await resolve(town) == user
    assert (await town.row("SELECT lago_customer_external_id AS c FROM users")).c == "c-1"


async def test_an_operators_address_makes_no_customer(town: Town) -> None:
    await town.user(email="ada@example.com", role="admin")
    town.customer(email="ada@example.com")
    await refused(town, EmailBelongsToAdmin, "EMAIL_BELONGS_TO_ADMIN", 409)
    assert len(await town.events("customer.account.auto_create_blocked_admin_email")) == 1


@pytest.mark.parametrize("through_a_card", [True, False])
async def test_the_account_of_another_customer_is_not_taken(town: Town, through_a_card: bool) -> None:
    user = await town.user(email="ada@example.com", lago_customer_external_id=None if through_a_card else "c-2")
    if through_a_card:
        await town.card("c-2", user_id=user)
    town.customer(email="ada@example.com")
    await refused(town, EmailLinkedToDifferentLagoCustomer, "EMAIL_LINKED_TO_DIFFERENT_LAGO_CUSTOMER", 409)


async def test_a_customer_that_lago_does_not_have_gets_no_account(town: Town) -> None:
    await refused(town, LagoCustomerNotFound, "LAGO_CUSTOMER_NOT_FOUND", 422)


async def test_a_lago_that_cannot_be_asked_is_told_apart(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    town.customer(email="ada@example.com")
    town.lago.config.faults.replace([FaultRule(Fault.HTML_502)])
    await refused(town, LagoFetchFailed, "LAGO_FETCH_FAILED", 502)


@pytest.mark.parametrize("email", ["ada", "ada@", "@example.com", "ada@example", "a b@example.com"])
async def test_a_malformed_address_is_told(town: Town, email: str) -> None:
    town.customer(email=email)
    await refused(town, LagoEmailMalformed, "LAGO_EMAIL_MALFORMED", 422)


async def refused(town: Town, kind: type[ProvisioningError], code: str, status: int) -> None:
    """No account, for this reason."""
    before = await town.rows("SELECT id FROM users ORDER BY id")
    with pytest.raises(kind) as problem:
        await resolve(town)
    assert (problem.value.code, problem.value.status) == (code, status)
    assert await town.rows("SELECT id FROM users ORDER BY id") == before


async def test_ten_at_once_make_one_account(town: Town) -> None:
    town.customer(email="ada@example.com")
    assert len(set(await asyncio.gather(*(resolve(town) for _ in range(10))))) == 1
    assert len(await town.rows("SELECT 1 FROM users")) == 1
    assert len(await town.events("customer.account.auto_provisioned")) == 1


async def test_losing_the_race_leaves_a_transaction_that_can_go_on(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    winners: list[UUID] = []
    real = AccountRepository.create

    async def too_late(self: AccountRepository, customer: str, email: str | None, name: str | None) -> UUID:
        winners.append(await town.user(lago_customer_external_id=customer))
        return await real(self, customer, email, name)

    monkeypatch.setattr(AccountRepository, "create", too_late)
    town.customer(email="ada@example.com")
    assert [await resolve(town)] == winners


async def test_lago_is_not_asked_inside_a_transaction(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.customer(email="ada@example.com")
    fetch, busy = service.CustomerAccounts.fetch, list[int]()

    async def watched(self: service.CustomerAccounts, customer: str) -> service.CustomerFacts:
        busy.append(town.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        return await fetch(self, customer)

    monkeypatch.setattr(service.CustomerAccounts, "fetch", watched)
    await resolve(town)
    assert busy == [0]
