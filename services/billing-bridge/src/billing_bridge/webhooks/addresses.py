"""A customer's e-mail address: taken over from Lago where we have none, never overwritten where we have one."""

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from billing_bridge.provisioning.repository import AccountRepository
from billing_bridge.provisioning.service import is_email
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.models import LagoCustomer, User


async def follow_address(uow: UnitOfWork, customer: str) -> None:
    """Fill in the missing address of the customer's account, or tell operators that the two differ.

    An address that somebody else has already is told and is no failure.
    """
    known = select(LagoCustomer.email).where(
        LagoCustomer.external_id == customer, LagoCustomer.deleted_at.is_(None), LagoCustomer.email.is_not(None)
    )
    address = await uow.session.scalar(known.order_by(LagoCustomer.mirrored_at.desc()).limit(1))
    user = await _account(uow, customer)
    if user is None or not address or not is_email(address):
        return
    if user.email is None:
        filled = await _fill_in(uow, user, address)
        _tell(uow, customer, *(("lago_email_backfilled", "info") if filled else ("lago_email_drift", "warn", "taken")))
    elif user.email.lower() != address.lower():
        _tell(uow, customer, "lago_email_drift", "warn", "differs")


async def _account(uow: UnitOfWork, customer: str) -> User | None:
    found = await AccountRepository(uow).paid_by(customer)
    return await uow.session.get(User, found) if found else None


async def _fill_in(uow: UnitOfWork, user: User, address: str) -> bool:
    statement = update(User).where(User.id == user.id, User.email.is_(None))
    try:
        async with uow.session.begin_nested():
            await uow.execute(
                statement.values(email=address, updated_at=func.now()).execution_options(synchronize_session=False)
            )
    except IntegrityError:
        return False
    return True


def _tell(uow: UnitOfWork, customer: str, kind: str, severity: str, detail: str | None = None) -> None:
    uow.emit(
        OperatorNotice(
            kind=kind,
            severity=severity,
            source_type="subscription",
            source_id=customer,
            external_customer_id=customer,
            detail=detail,
        )
    )
