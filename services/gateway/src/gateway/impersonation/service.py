"""An operator views a driver's account: read-only, for half an hour, and on record.

The view belongs to the operator's session. ``?as=<driver's id>`` on a request does the same for that request alone. The
one place that lets operators in as drivers is ``view``, and it refuses whatever changes something.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from gateway.impersonation.repository import ImpersonationRepository
from gateway.limits import READING
from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ApiError, Forbidden, NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Driver
from polaris_common.identity.sessions import Impersonation, SignedIn, act_as, act_as_oneself
from polaris_common.models import Role, User

LIFETIME = timedelta(minutes=30)


class NoCustomerViewed(Forbidden):
    """An operator who views no account calls what is for drivers."""

    message = "This is for drivers."


class ReadOnlyImpersonation(Forbidden):
    """Operators may look at a driver's account, not change it (contract §3.3)."""

    code = "Read-only while impersonating; use admin tools to mutate."
    message = "You are viewing somebody else's account and cannot change anything here."


class AlreadyImpersonating(ApiError):
    """One view at a time."""

    status, code = 409, "Already impersonating; end the current session first."
    message = "You are already viewing an account; end that first."


class CustomerNotFound(NotFound):
    """There is no such driver."""

    code, message = "Customer not found", "There is no such customer."


class CannotImpersonateYourself(ApiError):
    """An operator asks for their own account."""

    status, code, message = 400, "Cannot impersonate yourself", "This is your own account."


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
        if await repository.viewed(admin_id, customer.id, route=origin.route or "", method=method):
            details = {"customerUserId": str(customer.id), "method": method}
            await self.audit.record(uow, AuditEvent.IMPERSONATION_START, origin, user_id=admin_id, **details)


async def start(
    uow: UnitOfWork, audit: Audit, signed_in: SignedIn, customer_id: UUID, *, as_text: str | None, origin: Origin
) -> Impersonation:
    """Let an operator's session view a driver's account.

    Raises:
        AlreadyImpersonating: it views one, or the request names one.
        CannotImpersonateYourself: it is the operator's own.
        CustomerNotFound: there is no such driver.
    """
    repository = ImpersonationRepository(uow)
    named = user_id_in(as_text)
    if signed_in.impersonation is not None or (named is not None and await repository.customer(named) is not None):
        raise AlreadyImpersonating
    if customer_id == signed_in.user.id:
        raise CannotImpersonateYourself
    customer = await repository.customer(customer_id)
    if customer is None:
        raise CustomerNotFound
    until = await act_as(uow, signed_in.session_id, customer.id, lifetime=LIFETIME)
    await repository.viewed(signed_in.user.id, customer.id, route=origin.route or "", method="POST")
    details = {"customerUserId": str(customer.id), "method": "POST"}
    await audit.record(uow, AuditEvent.IMPERSONATION_START, origin, user_id=signed_in.user.id, **details)
    return Impersonation(customer, until)


async def end(uow: UnitOfWork, audit: Audit, signed_in: SignedIn, *, as_text: str | None, origin: Origin) -> None:
    """End the view, if there is one."""
    await act_as_oneself(uow, signed_in.session_id)
    viewed = user_id_in(as_text) or (signed_in.impersonation and signed_in.impersonation.customer.id)
    details = {"customerUserId": str(viewed) if viewed else None}
    await audit.record(uow, AuditEvent.IMPERSONATION_END, origin, user_id=signed_in.user.id, **details)


async def refuse_non_operator(database: Database, audit: Audit, signed_in: SignedIn, origin: Origin) -> None:
    """Pass for operators.

    Raises:
        Forbidden: a driver tries; it is audited.
    """
    if signed_in.user.role == Role.ADMIN:
        return
    async with database.unit_of_work() as uow:
        reason = {"reason": "non_admin_attempted_impersonation"}
        await audit.record(uow, AuditEvent.PRIVILEGE_VIOLATION, origin, user_id=signed_in.user.id, **reason)
    raise Forbidden


def user_id_in(text: str | None) -> UUID | None:
    """The id in ``?as=``; None when it is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
