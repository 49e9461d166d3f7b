"""An operator views a driver's account: read-only, and on record.

The view belongs to the operator's session. ``?as=<driver's id>`` on a request does the same for that request alone. The
one place that lets operators in as drivers is ``Views.view``, and it refuses whatever changes something.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import AccountViewed, Audience, user_audience
from polaris_common.http.callers import READING
from polaris_common.http.errors import Forbidden
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Driver
from polaris_common.identity.sessions import SignedIn
from polaris_common.models import ImpersonationAudit, Role, User


class NoCustomerViewed(Forbidden):
    """An operator who views no account calls what is for drivers."""

    message = "This is for drivers."


class ReadOnlyImpersonation(Forbidden):
    """Operators may look at a driver's account, not change it (contract-customer §3.3)."""

    code = "Read-only while impersonating; use admin tools to mutate."
    message = "You are viewing somebody else's account and cannot change anything here."


class ImpersonationRepository:
    """Every query on views of drivers' accounts."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def customer(self, user_id: UUID) -> User | None:
        """A driver; None when there is none with this id."""
        query = select(User).where(User.id == user_id, User.role == Role.CUSTOMER)
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def viewed_today(self, customer_id: UUID) -> bool:
        """Whether anybody has viewed this driver's account since midnight (UTC)."""
        query = select(ImpersonationAudit.id).where(
            ImpersonationAudit.customer_user_id == customer_id,
            ImpersonationAudit.minute >= func.date_trunc("day", func.now(), "UTC"),
        )
        return (await self._uow.execute(query.limit(1))).first() is not None

    async def customers(self, user_ids: Iterable[UUID]) -> set[UUID]:
        """Those of these people who are drivers."""
        query = select(User.id).where(User.id.in_(list(user_ids)), User.role == Role.CUSTOMER)
        return set((await self._uow.execute(query)).scalars())

    async def viewed(self, admin_id: UUID, customer_id: UUID, *, route: str, method: str) -> bool:
        """Note a view; True when it is this minute's first of this route."""
        statement = (
            insert(ImpersonationAudit)
            .values(
                admin_user_id=admin_id,
                customer_user_id=customer_id,
                route=route,
                method=method,
                minute=func.date_trunc("minute", func.now()),
            )
            .on_conflict_do_nothing(constraint="impersonation_audit_minute_key")
        )
        return await self._uow.write(statement) == 1


@dataclass(frozen=True)
class Views:
    """What is needed to let operators look at drivers' accounts."""

    database: Database
    audit: Audit

    async def view(self, signed_in: SignedIn, *, as_text: str | None, method: str, origin: Origin) -> Driver:
        """The driver whose account an operator reads with this request.

        Raises:
            NoCustomerViewed: they view nobody's.
            ReadOnlyImpersonation: the request would change something.
        """
        async with self.database.unit_of_work() as uow:
            customer = await self._customer(uow, signed_in, as_text)
            if customer is None:
                raise NoCustomerViewed
            if method in READING:
                await self._note(uow, signed_in, customer, method, origin)
                return Driver(customer.id, impersonated_by=signed_in.user.id)
            details = {"customerUserId": str(customer.id), "method": method}
            event = AuditEvent.IMPERSONATION_WRITE_BLOCKED
            await self.audit.record(uow, event, origin, user_id=signed_in.user.id, **details)
        raise ReadOnlyImpersonation

    async def _customer(self, uow: UnitOfWork, signed_in: SignedIn, as_text: str | None) -> User | None:
        """The one that the request names, else the one that the session views."""
        named = user_id_in(as_text)
        if named is not None and (found := await ImpersonationRepository(uow).customer(named)) is not None:
            return found
        return None if signed_in.impersonation is None else signed_in.impersonation.customer

    async def _note(self, uow: UnitOfWork, signed_in: SignedIn, customer: User, method: str, origin: Origin) -> None:
        repository, admin_id = ImpersonationRepository(uow), signed_in.user.id
        await tell_customer(uow, customer.id)
        if await repository.viewed(admin_id, customer.id, route=origin.route or "", method=method):
            details = {"customerUserId": str(customer.id), "method": method}
            await self.audit.record(uow, AuditEvent.IMPERSONATION_START, origin, user_id=admin_id, **details)


async def tell_customer(uow: UnitOfWork, customer_id: UUID) -> None:
    """Before a view is noted: the driver learns that their account is looked at, once a day."""
    if not await ImpersonationRepository(uow).viewed_today(customer_id):
        uow.emit(AccountViewed(audience=Audience((user_audience(customer_id),))))


def user_id_in(text: str | None) -> UUID | None:
    """The id in ``?as=``; None when it is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
