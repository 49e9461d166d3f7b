"""Making and changing people who sign in: used by the operators' pages and by the command.

At least one superadmin stays, whatever happens at the same time: changes that could end that are made in turn.
"""

from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from polaris_common.db import UnitOfWork
from polaris_common.db.locks import LockName
from polaris_common.identity import one_time
from polaris_common.identity.sessions import revoke_all
from polaris_common.ids import new_public_id
from polaris_common.models import Account, Role, TokenPurpose, User

CREDENTIAL = "credential"
"""The provider of accounts that sign in with a password."""


_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(:key)")


class EmailTaken(Exception):
    """Somebody has this address, in whatever case it is written."""


class LastSuperadmin(Exception):
    """Without this one nobody could manage operators."""


async def person_by_email(uow: UnitOfWork, email: str) -> User | None:
    """Who has this address, in whatever case it is written."""
    query = select(User).where(func.lower(User.email) == func.lower(email))
    return (await uow.execute(query)).scalar_one_or_none()


async def create_person(
    uow: UnitOfWork,
    *,
    email: str,
    name: str | None,
    role: Role,
    superadmin: bool = False,
    email_verified: bool = False,
    password_hash: str | None = None,
) -> User:
    """A new person.

    Raises:
        EmailTaken: somebody has the address.
    """
    values = {
        "public_id": new_public_id(),
        "email": email,
        "name": name,
        "role": role,
        "superadmin": superadmin,
        "email_verified": email_verified,
    }
    try:
        async with uow.session.begin_nested():
            user: User = (await uow.execute(insert(User).values(**values).returning(User))).scalar_one()
    except IntegrityError as error:
        if "users_email_lower_key" not in str(error.orig):
            raise
        raise EmailTaken from None
    if password_hash is not None:
        await set_password(uow, user.id, password_hash)
    return user


async def set_password(uow: UnitOfWork, user_id: UUID, password_hash: str) -> None:
    """Give a person this password, whether they had one or not."""
    statement = insert(Account).values(
        user_id=user_id, provider_id=CREDENTIAL, account_id=str(user_id), password_hash=password_hash
    )
    changed = {"password_hash": statement.excluded.password_hash, "updated_at": text("now()")}
    await uow.execute(statement.on_conflict_do_update(constraint="accounts_provider_account_key", set_=changed))


async def sign_out_everywhere(uow: UnitOfWork, user_id: UUID) -> int:
    """End a person's sessions and take back every link that would sign them in; how many sessions."""
    for purpose in (TokenPurpose.MAGIC_LINK, TokenPurpose.PASSWORD_RESET, TokenPurpose.QR_CONFIRMATION):
        await one_time.revoke_all(uow, purpose, user_id)
    return await revoke_all(uow, user_id)


async def set_role(uow: UnitOfWork, user: User, role: Role, *, superadmin: bool = False) -> None:
    """Make a person an operator or a driver; what they were signed in to ends.

    Raises:
        LastSuperadmin: nobody could manage operators any more.
    """
    if user.superadmin and not superadmin:
        await require_another_superadmin(uow, user.id)
    await uow.execute(
        update(User).where(User.id == user.id).values(role=role, superadmin=superadmin, updated_at=func.now())
    )
    await sign_out_everywhere(uow, user.id)


async def require_another_superadmin(uow: UnitOfWork, user_id: UUID) -> None:
    """Make sure that there is a superadmin besides ``user_id``; changes of superadmins wait for each other.

    Raises:
        LastSuperadmin: there is none.
    """
    await uow.execute(_ONE_AT_A_TIME, {"key": LockName.SUPERADMINS})
    query = select(User.id).where(User.superadmin, User.id != user_id).limit(1)
    if (await uow.execute(query)).first() is None:
        raise LastSuperadmin


async def has_superadmin(uow: UnitOfWork) -> bool:
    """Whether anybody may manage operators."""
    return (await uow.execute(select(User.id).where(User.superadmin).limit(1))).first() is not None
