"""``polaris billing verify`` and ``polaris session explain``."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic_settings import BaseSettings
from sqlalchemy.exc import SQLAlchemyError

from polaris_cli.problems import BadInput, CommandError
from polaris_common.books.explain import explain_session
from polaris_common.books.three_way import (
    Difference,
    Totals,
    against_lago,
    internal_differences,
    lago_wh,
    subscription_books,
    totals,
)
from polaris_common.db import Database, UnitOfWork
from polaris_common.energy import kwh_text
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.settings import DatabaseSettings, LagoSettings, SettingsError, load


def verify() -> int:
    """Compare register, ledger, delivered events and Lago; 0 when all agree, 1 on any difference.

    Raises:
        CommandError: the database or Lago cannot be reached.
    """
    sums, differences = asyncio.run(_verify())
    for name, wh in (
        ("metered", sums.metered_wh),
        ("not billed, with a reason", sums.unbilled_wh),
        ("in the ledger", sums.ledger_wh),
        ("accepted by Lago", sums.delivered_wh),
    ):
        sys.stdout.write(f"{name:<28}{kwh_text(wh):>16} kWh\n")
    for each in differences:
        sys.stdout.write(f"{each.kind:<18}{each.subject:<48}{kwh_text(each.difference_wh):>14} kWh\n")
    sys.stdout.write("The books balance.\n" if not differences else f"{len(differences)} differences.\n")
    return 1 if differences else 0


def explain(session_id: int) -> int:
    """Print everything behind one session's bill as JSON.

    Raises:
        BadInput: there is no such session.
    """
    found = asyncio.run(_with_database(lambda uow: explain_session(uow, session_id)))
    if found is None:
        raise BadInput(f"There is no session {session_id}.")
    sys.stdout.write(f"{json.dumps(found, indent=2, ensure_ascii=False)}\n")
    return 0


async def _verify() -> tuple[Totals, list[Difference]]:
    async def read(uow: UnitOfWork) -> tuple[Totals, list[Difference], Any]:
        return await totals(uow), await internal_differences(uow), await subscription_books(uow)

    sums, differences, books = await _with_database(read)
    settings = _settings(LagoSettings)
    if settings.lago_api_url is None or settings.lago_api_key is None:
        return sums, differences
    lago = LagoClient(settings)
    try:
        for each in books:
            usage = await lago.current_usage(each.customer, each.subscription)
            difference = against_lago(each, lago_wh(usage, settings.lago_metric_code))
            if difference is not None:
                differences.append(difference)
    except (LagoUnavailable, LagoRefused) as error:
        raise CommandError(f"Lago does not tell its usage: {error}.") from None
    finally:
        await lago.close()
    return sums, differences


T = TypeVar("T")
S = TypeVar("S", bound=BaseSettings)


def _settings(kind: type[S]) -> S:
    try:
        return load(kind)
    except SettingsError as problem:
        raise BadInput(str(problem)) from None


async def _with_database(work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    database = Database(_settings(DatabaseSettings), application_name="polaris-cli")
    try:
        async with database.unit_of_work() as uow:
            return await work(uow)
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        raise CommandError(f"The database of DATABASE_URL cannot be read ({type(error).__name__}).") from None
    finally:
        await database.close()
