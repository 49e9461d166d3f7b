"""People by what they sign in with."""

from dataclasses import dataclass

from sqlalchemy import func, select

from polaris_common.db import UnitOfWork
from polaris_common.models import Account, User

CREDENTIAL = "credential"
"""The provider of accounts that sign in with a password."""


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
