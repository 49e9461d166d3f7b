"""People who sign in, whatever happens at the same time."""

import asyncio

import pytest
from sqlalchemy import func, select

from polaris_common.db import Database
from polaris_common.identity.people import EmailTaken, LastSuperadmin, create_person, set_role
from polaris_common.models import Role, User


async def _superadmin(database: Database, email: str) -> User:
    async with database.unit_of_work() as uow:
        return await create_person(uow, email=email, name=None, role=Role.ADMIN, superadmin=True)


async def test_a_second_demotion_waits_for_the_first_and_then_is_refused(database: Database) -> None:
    one, two = await _superadmin(database, "one@example.org"), await _superadmin(database, "two@example.org")

    async def demote(user: User) -> None:
        async with database.unit_of_work() as uow:
            await set_role(uow, user, Role.CUSTOMER)

    async with database.unit_of_work() as uow:
        await set_role(uow, one, Role.CUSTOMER)
        second = asyncio.create_task(demote(two))
        finished, _ = await asyncio.wait({second}, timeout=0.3)
        waits = not finished
    with pytest.raises(LastSuperadmin):
        await second

    async with database.unit_of_work() as uow:
        left = await uow.session.scalar(select(func.count()).select_from(User).where(User.superadmin))
    assert (waits, left) == (True, 1)


async def test_a_taken_address_leaves_the_transaction_usable(database: Database) -> None:
    await _superadmin(database, "one@example.org")

    async with database.unit_of_work() as uow:
        with pytest.raises(EmailTaken):
            await create_person(uow, email="ONE@example.org", name=None, role=Role.CUSTOMER)
        await create_person(uow, email="two@example.org", name=None, role=Role.CUSTOMER)

    async with database.unit_of_work() as uow:
        assert await uow.session.scalar(select(func.count()).select_from(User)) == 2
