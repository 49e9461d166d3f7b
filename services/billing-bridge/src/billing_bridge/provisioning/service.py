"""The portal account of a Lago customer: found, or made (domain.md §3.7).

Lago is asked before any transaction begins. What another transaction may do at the same time is tried inside a
savepoint, so that losing a race leaves a transaction that can go on.
"""

import re
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError

from billing_bridge.provisioning.repository import AccountRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import CustomerAccountBlocked, CustomerAccountProvisioned
from polaris_common.lago import LagoClient, LagoNotFound, LagoRefused, LagoUnavailable, wire
from polaris_common.models import Role, User

log = structlog.get_logger(__name__)

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")


class ProvisioningError(Exception):
    """No account; ``code`` and ``status`` are what the API answers."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, customer: str) -> None:
        super().__init__(f"{self.code}: {customer}")
        self.customer = customer


class LagoCustomerNotFound(ProvisioningError):
    """Lago has no such customer."""

    code, status = "LAGO_CUSTOMER_NOT_FOUND", 422


class LagoFetchFailed(ProvisioningError):
    """Lago could not be asked; trying again later helps."""

    code, status = "LAGO_FETCH_FAILED", 502


class LagoEmailMalformed(ProvisioningError):
    """The customer's e-mail address in Lago is none."""

    code, status = "LAGO_EMAIL_MALFORMED", 422


class EmailBelongsToAdmin(ProvisioningError):
    """The address is an operator's; operators are no customers."""

    code, status = "EMAIL_BELONGS_TO_ADMIN", 409


class EmailLinkedToDifferentLagoCustomer(ProvisioningError):
    """The address belongs to the account of another Lago customer."""

    code, status = "EMAIL_LINKED_TO_DIFFERENT_LAGO_CUSTOMER", 409


@dataclass(frozen=True)
class CustomerFacts:
    """What Lago knows about a customer, as far as an account needs it."""

    external_id: str
    email: str | None
    name: str | None


def is_email(text: str) -> bool:
    """Whether ``text`` has the shape of an address."""
    return _EMAIL.fullmatch(text) is not None


class CustomerAccounts:
    """Finds and makes accounts for Lago customers."""

    def __init__(self, database: Database, lago: LagoClient) -> None:
        self._database, self._lago = database, lago

    async def resolve_or_create_customer_account(self, customer_external_id: str) -> UUID:
        """The account of a Lago customer; made if there is none. Safe to repeat and to run side by side.

        Raises:
            LagoCustomerNotFound, LagoFetchFailed, LagoEmailMalformed, EmailBelongsToAdmin,
            EmailLinkedToDifferentLagoCustomer: there is no account and none can be made.
        """
        async with self._database.unit_of_work() as uow:
            known = await linked_account(uow, customer_external_id)
        if known is not None:
            return known
        facts = await self.fetch(customer_external_id)
        async with self._database.unit_of_work() as uow:
            outcome = await resolve_or_create(uow, facts)
        if isinstance(outcome, ProvisioningError):
            raise outcome
        return outcome

    async def fetch(self, customer_external_id: str) -> CustomerFacts:
        """Ask Lago about a customer; no transaction may be open.

        Raises:
            LagoCustomerNotFound, LagoFetchFailed, LagoEmailMalformed: as the classes say.
        """
        try:
            raw = await self._lago.customer(customer_external_id)
        except LagoNotFound as error:
            raise LagoCustomerNotFound(customer_external_id) from error
        except (LagoUnavailable, LagoRefused) as error:
            raise LagoFetchFailed(customer_external_id) from error
        email = (wire.text(raw, "email") or "").strip() or None
        if email is not None and not is_email(email):
            raise LagoEmailMalformed(customer_external_id)
        names = " ".join(filter(None, (wire.text(raw, "firstname"), wire.text(raw, "lastname"))))
        name = wire.text(raw, "name") or names or (email.partition("@")[0] if email else None)
        return CustomerFacts(customer_external_id, email, name)


async def linked_account(uow: UnitOfWork, customer: str) -> UUID | None:
    """The account that is linked to the customer, directly or through its cards; the direct link is filled in."""
    accounts = AccountRepository(uow)
    direct = await accounts.of_customer(customer)
    if direct is not None:
        return direct
    owners = await accounts.card_owners(customer)
    if not owners:
        return None
    if len(owners) > 1:
        log.error("customer_has_several_accounts", customer=customer, accounts=[str(owner) for owner in owners])
    return await _link(uow, owners[0], customer) or owners[0]


async def resolve_or_create(uow: UnitOfWork, facts: CustomerFacts) -> UUID | ProvisioningError:
    """The account of a customer whose facts are known, made if need be, within the caller's transaction.

    A refusal is returned, not raised, so that the caller commits the event that tells operators of it.
    """
    for _ in range(2):
        known = await linked_account(uow, facts.external_id)
        if known is not None:
            return known
        namesake = await AccountRepository(uow).with_email(facts.email) if facts.email else None
        if namesake is not None:
            return await _adopt(uow, namesake, facts)
        created = await _create(uow, facts)
        if created is not None:
            return created
    raise RuntimeError(f"the account of {facts.external_id} is made and unmade by others")


async def _adopt(uow: UnitOfWork, namesake: User, facts: CustomerFacts) -> UUID | ProvisioningError:
    customer = facts.external_id
    if namesake.role == Role.ADMIN:
        uow.emit(CustomerAccountBlocked(external_customer_id=customer))
        return EmailBelongsToAdmin(customer)
    if namesake.lago_customer_external_id not in (None, customer):
        return EmailLinkedToDifferentLagoCustomer(customer)
    if await AccountRepository(uow).has_cards_of_another(namesake.id, customer):
        return EmailLinkedToDifferentLagoCustomer(customer)
    return await _link(uow, namesake.id, customer) or namesake.id


async def _link(uow: UnitOfWork, user_id: UUID, customer: str) -> UUID | None:
    """Fill in the account's direct link; somebody else's account when that was linked at the same time."""
    accounts = AccountRepository(uow)
    try:
        async with uow.session.begin_nested():
            await accounts.link(user_id, customer)
    except IntegrityError:
        return await accounts.of_customer(customer)
    return None


async def _create(uow: UnitOfWork, facts: CustomerFacts) -> UUID | None:
    try:
        async with uow.session.begin_nested():
            user_id = await AccountRepository(uow).create(facts.external_id, facts.email, facts.name)
    except IntegrityError:
        return None
    uow.emit(CustomerAccountProvisioned(user_id=user_id, external_customer_id=facts.external_id))
    return user_id
