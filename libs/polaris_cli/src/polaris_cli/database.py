"""The database and the settings of the installation that a command works on."""

import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic_settings import BaseSettings
from sqlalchemy.exc import SQLAlchemyError

from polaris_cli.problems import BadInput, CommandError
from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ApiError
from polaris_common.settings import DatabaseSettings, SettingsError, load

T = TypeVar("T")
S = TypeVar("S", bound=BaseSettings)


class Refused(CommandError):
    """What was asked for cannot be done as things are; nothing has changed."""

    exit_code = 3


def settings(kind: type[S]) -> S:
    """The environment's settings.

    Raises:
        BadInput: a variable is missing or unusable.
    """
    try:
        return load(kind)
    except SettingsError as problem:
        raise BadInput(str(problem)) from None


async def with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Do ``work`` on the database of DATABASE_URL.

    Raises:
        CommandError: it cannot be reached.
        Refused: a rule forbids it.
    """
    database = Database(settings(DatabaseSettings), application_name="polaris-cli")
    try:
        return await work(database)
    except ApiError as refusal:
        raise Refused(str(refusal)) from None
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        raise CommandError(f"The database of DATABASE_URL cannot be read ({type(error).__name__}).") from None
    finally:
        await database.close()


async def in_unit_of_work(work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Do ``work`` in one transaction; as ``with_database``."""

    async def run(database: Database) -> T:
        async with database.unit_of_work() as uow:
            return await work(uow)

    return await with_database(run)


def actor() -> str:
    """Who acts, for the record: the user of this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "cli:unknown"
