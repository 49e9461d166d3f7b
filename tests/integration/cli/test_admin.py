"""``polaris admin``: the first operator and the way back in."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from polaris_cli.main import app
from polaris_common.db import Database
from polaris_common.identity.passwords import verify_password
from polaris_common.identity.sessions import open_session
from polaris_common.models import Account, AuthAudit, AuthSession, User

PASSWORD = "correct horse battery"


async def _polaris(*arguments: str, stdin: str = "") -> Result:
    """As typed into a shell; the command has an event loop of its own."""
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["admin", *arguments], input=stdin))


async def _create(email: str, *more: str, password: str = PASSWORD) -> Result:
    return await _polaris("create", email, "--name", "Olga", "--password-stdin", *more, stdin=f"{password}\n")


async def _users(database: Database) -> dict[str, tuple[str, bool]]:
    async with database.unit_of_work() as uow:
        return {str(user.email): (user.role, user.superadmin) for user in (await uow.execute(select(User))).scalars()}


async def _password_works(database: Database, password: str) -> bool:
    async with database.unit_of_work() as uow:
        stored = await uow.session.scalar(select(Account.password_hash))
    return await verify_password(password, stored)


async def test_the_first_operator_is_a_superadmin_and_the_next_is_not(database: Database) -> None:
    results = [await _create("one@example.org"), await _create("two@example.org")]

    assert [result.exit_code for result in results] == [0, 0]
    assert await _users(database) == {"one@example.org": ("admin", True), "two@example.org": ("admin", False)}
    async with database.unit_of_work() as uow:
        audited = [row.event for row in (await uow.execute(select(AuthAudit))).scalars()]
    assert audited == ["user.created"] * 2


async def test_the_password_comes_from_standard_input_and_is_never_shown(database: Database) -> None:
    result = await _create("one@example.org")

    assert await _password_works(database, PASSWORD)
    assert PASSWORD not in result.output


@pytest.mark.parametrize("arguments", [["--password", PASSWORD], [PASSWORD]])
async def test_a_password_as_an_argument_is_not_accepted(database: Database, arguments: list[str]) -> None:
    result = await _polaris("create", "one@example.org", "--name", "Olga", *arguments)

    assert (result.exit_code, await _users(database)) == (2, {})


async def test_what_cannot_be_an_operator_is_refused_with_a_sentence(database: Database) -> None:
    await _create("one@example.org")

    results = [
        await _create("nobody"),
        await _create("two@example.org", password="elevenchars"),
        await _create("ONE@example.org"),
        await _polaris("create", "two@example.org", "--name", "Olga", stdin=PASSWORD),
        await _polaris("promote", "two@example.org"),
        await _polaris("promote", "one@example.org", "--to", "root"),
        await _polaris("reset-password", "two@example.org", "--password-stdin", stdin=f"{PASSWORD}\n"),
    ]

    assert [result.exit_code for result in results] == [2] * 7
    assert all(result.output.count("\n") == 1 and "Traceback" not in result.output for result in results)
    assert len(await _users(database)) == 1


async def test_the_list_shows_operators_and_their_rank(database: Database) -> None:
    await _create("one@example.org")
    await _create("two@example.org")

    lines = [line.split() for line in (await _polaris("list")).output.splitlines()]

    assert lines == [["one@example.org", "superadmin", "Olga"], ["two@example.org", "admin", "Olga"]]


async def test_the_last_superadmin_stays_one(database: Database) -> None:
    await _create("one@example.org")
    await _create("two@example.org")

    refused = await _polaris("promote", "one@example.org", "--to", "customer")
    await _polaris("promote", "two@example.org")
    then = await _polaris("promote", "one@example.org", "--to", "admin")

    assert (refused.exit_code, "last superadmin" in refused.output, then.exit_code) == (2, True, 0)
    assert await _users(database) == {"one@example.org": ("admin", False), "two@example.org": ("admin", True)}


async def test_a_new_password_signs_out_everywhere(database: Database) -> None:
    await _create("one@example.org")
    async with database.unit_of_work() as uow:
        user = (await uow.execute(select(User))).scalar_one()
        await open_session(uow, user, lifetime=timedelta(hours=1), ip_address=None, user_agent=None)

    await _polaris("reset-password", "one@example.org", "--password-stdin", stdin="another long password\n")

    async with database.unit_of_work() as uow:
        left = await uow.session.scalar(select(func.count()).select_from(AuthSession))
    assert (left, await _password_works(database, "another long password")) == (0, True)
    assert not await _password_works(database, PASSWORD)
