"""An operator begins and ends viewing a driver's account, for half an hour; the library says what a view allows."""

from datetime import timedelta
from uuid import UUID

from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ApiError, Forbidden, NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.impersonation import ImpersonationRepository, tell_customer, user_id_in
from polaris_common.identity.sessions import Impersonation, SignedIn, act_as, act_as_oneself
from polaris_common.models import Role

LIFETIME = timedelta(minutes=30)


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
    await tell_customer(uow, customer.id)
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
