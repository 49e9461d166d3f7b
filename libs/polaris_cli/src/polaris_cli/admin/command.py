"""``polaris admin``: the first operator, and the way back in when nobody can sign in.

Passwords come from a prompt or from standard input, never from the command line, where other users of the machine and
the shell's history would see them.
"""

import asyncio
import getpass
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic_settings import BaseSettings
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from polaris_cli.problems import BadInput, CommandError
from polaris_common.db import Database, UnitOfWork
from polaris_common.identity import people
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.passwords import PasswordTooShort, hash_password
from polaris_common.models import Role, User
from polaris_common.settings import AuthSecretSettings, DatabaseSettings, SettingsError, load

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_RANKS = {"superadmin": (Role.ADMIN, True), "admin": (Role.ADMIN, False), "customer": (Role.CUSTOMER, False)}
HERE = Origin(route="polaris admin")

T = TypeVar("T")
S = TypeVar("S", bound=BaseSettings)


def create(email: str, *, name: str, superadmin: bool, password_stdin: bool) -> int:
    """Add an operator; the first one is a superadmin.

    Raises:
        BadInput: the address is none or taken, or the password is too short.
    """
    if _EMAIL.fullmatch(email) is None:
        raise BadInput(f"{email} is not an e-mail address.")
    password_hash = _hashed(_password(from_stdin=password_stdin))

    async def work(uow: UnitOfWork) -> User:
        first = not await people.has_superadmin(uow)
        user = await people.create_person(
            uow,
            email=email,
            name=name,
            role=Role.ADMIN,
            superadmin=superadmin or first,
            email_verified=True,
            password_hash=password_hash,
        )
        await _audit(uow, AuditEvent.USER_CREATED, user, role=user.role, superadmin=user.superadmin)
        return user

    try:
        user = _in_database(work)
    except people.EmailTaken:
        raise BadInput(f"Somebody has the address {email} already; see polaris admin promote.") from None
    sys.stdout.write(f"{user.email} is {'a superadmin' if user.superadmin else 'an operator'} now.\n")
    return 0


def list_admins() -> int:
    """Print all operators, one a line: address, rank, name."""

    async def work(uow: UnitOfWork) -> list[User]:
        query = select(User).where(User.role == Role.ADMIN).order_by(User.superadmin.desc(), User.email)
        return list((await uow.execute(query)).scalars())

    for user in _in_database(work):
        rank = "superadmin" if user.superadmin else "admin"
        sys.stdout.write(f"{user.email or '-':<40} {rank:<12} {user.name or '-'}\n")
    return 0


def promote(email: str, *, to: str) -> int:
    """Make a person a superadmin, an admin or a customer; they are signed out everywhere.

    Raises:
        BadInput: there is no such person or rank, or they are the last superadmin.
    """
    if to not in _RANKS:
        raise BadInput(f"{to} is none of {', '.join(_RANKS)}.")
    role, superadmin = _RANKS[to]

    async def work(uow: UnitOfWork) -> None:
        user = await _person(uow, email)
        await people.set_role(uow, user, role, superadmin=superadmin)
        await _audit(uow, AuditEvent.USER_ROLE_CHANGED, user, role=role, superadmin=superadmin)

    try:
        _in_database(work)
    except people.LastSuperadmin:
        raise BadInput(f"{email} is the last superadmin. Make somebody else one first.") from None
    sys.stdout.write(f"{email} is {to} now.\n")
    return 0


def reset_password(email: str, *, password_stdin: bool) -> int:
    """Give an operator a new password; they are signed out everywhere.

    Raises:
        BadInput: there is no such operator, or the password is too short.
    """
    password_hash = _hashed(_password(from_stdin=password_stdin))

    async def work(uow: UnitOfWork) -> None:
        user = await _person(uow, email)
        if user.role != Role.ADMIN:
            raise BadInput(f"{email} is no operator.")
        await people.set_password(uow, user.id, password_hash)
        await people.sign_out_everywhere(uow, user.id)
        await _audit(uow, AuditEvent.PASSWORD_RESET_COMPLETED, user, source="command")

    _in_database(work)
    sys.stdout.write(f"{email} has a new password and is signed out everywhere.\n")
    return 0


async def _person(uow: UnitOfWork, email: str) -> User:
    user = await people.person_by_email(uow, email)
    if user is None:
        raise BadInput(f"Nobody has the address {email}.")
    return user


async def _audit(uow: UnitOfWork, event: AuditEvent, user: User, **details: Any) -> None:
    target = str(user.id)
    await Audit(_secret()).record(uow, event, HERE, email=user.email, targetUserId=target, **details)


def _secret() -> str:
    return _load(AuthSecretSettings).auth_secret.get_secret_value()


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise BadInput("There is no terminal to ask for the password; use --password-stdin.")
    first = getpass.getpass("Password (12 characters or more): ")
    if first != getpass.getpass("Again: "):
        raise BadInput("The two passwords differ.")
    return first


def _hashed(password: str) -> str:
    try:
        return asyncio.run(hash_password(password))
    except PasswordTooShort as problem:
        raise BadInput(f"{str(problem).capitalize()}.") from None


def _load(kind: type[S]) -> S:
    try:
        return load(kind)
    except SettingsError as problem:
        raise BadInput(str(problem)) from None


def _in_database(work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database(_load(DatabaseSettings), application_name="polaris-cli")
        try:
            async with database.unit_of_work() as uow:
                return await work(uow)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        raise CommandError(f"The database of DATABASE_URL cannot be used ({type(error).__name__}).") from None
