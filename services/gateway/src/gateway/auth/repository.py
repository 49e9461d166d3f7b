"""People by what they sign in with."""

from dataclasses import dataclass

from sqlalchemy import exists, func, select

from polaris_common.db import UnitOfWork
from polaris_common.identity.people import CREDENTIAL
from polaris_common.models import Account, Role, User


@dataclass(frozen=True)
class Credential:
    """A person and the hash of their password, if they have one."""

    user: User
    password_hash: str | None


async def credential_of(uow: UnitOfWork, email: str) -> Credential | None:
    """The person with ``email``, in whatever case it is written."""
    query = (
        select(User, Account.password_hash)
        .outerjoin(Account, (Account.user_id == User.id) & (Account.provider_id == CREDENTIAL))
        .where(func.lower(User.email) == func.lower(email))
        .order_by(Account.created_at)
        .limit(1)
    )
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else Credential(row.User, row.password_hash)


async def still_has(uow: UnitOfWork, credential: Credential) -> bool:
    """Whether the password is still the one that was checked; it cannot change before the transaction ends."""
    query = select(Account.password_hash).where(
        Account.user_id == credential.user.id, Account.provider_id == CREDENTIAL
    )
    return credential.password_hash in set((await uow.execute(query.with_for_update(read=True))).scalars())


async def drivers_have_passwords(uow: UnitOfWork) -> bool:
    """Whether any driver signs in with a password."""
    drivers = select(User.id).where(User.role == Role.CUSTOMER)
    found = exists().where(Account.provider_id == CREDENTIAL, Account.user_id.in_(drivers))
    return bool((await uow.execute(select(found))).scalar_one())
