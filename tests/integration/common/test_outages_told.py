"""Operators hear that SteVe or Lago is away, and that it is back: once each, however often it was looked at."""

from typing import Any

import pytest
from tests.support.sql import WithDatabase

from polaris_common.db import Database
from polaris_common.observability.health import METRIC_MISCONFIGURED, Component, report


class Watched(WithDatabase):
    """A database into which workers write what they see."""

    async def seen(self, component: Component, *errors: str | None) -> None:
        """One probe after another."""
        for error in errors:
            async with self.database.unit_of_work() as uow:
                await report(uow, component, error=error)

    async def later(self, seconds: int) -> None:
        """So much time passes."""
        await self.execute(
            "UPDATE component_health SET failing_since = failing_since - make_interval(secs => :seconds)",
            seconds=seconds,
        )

    async def told(self) -> list[tuple[str, Any]]:
        """What operators hear."""
        rows = await self.rows("SELECT type, payload FROM domain_events ORDER BY created_at, id")
        return [(row.type, row.payload["component"]) for row in rows]


@pytest.fixture
def watched(database: Database) -> Watched:
    """Nothing has been looked at."""
    return Watched(database)


@pytest.mark.parametrize("component", [Component.STEVE, Component.LAGO])
async def test_an_outage_and_its_end_are_told_once_each(watched: Watched, component: Component) -> None:
    await watched.seen(component, None, "unreachable")
    await watched.later(121)
    await watched.seen(component, *["unreachable", "timeout"] * 3, None, None)

    assert await watched.told() == [("component.down", component), ("component.recovered", component)]


async def test_a_second_outage_is_told_again(watched: Watched) -> None:
    for _ in range(2):
        await watched.seen(Component.STEVE, "unreachable")
        await watched.later(121)
        await watched.seen(Component.STEVE, "unreachable", None)

    assert [kind for kind, _ in await watched.told()] == ["component.down", "component.recovered"] * 2


async def test_a_restart_is_no_outage(watched: Watched) -> None:
    await watched.seen(Component.STEVE, None, "unreachable")
    await watched.later(60)
    await watched.seen(Component.STEVE, "unreachable", None)
    await watched.later(121)
    await watched.seen(Component.STEVE, "unreachable")

    assert await watched.told() == []


@pytest.mark.parametrize("error", ["not_configured", METRIC_MISCONFIGURED])
async def test_what_is_no_outage_is_not_told_as_one(watched: Watched, error: str) -> None:
    await watched.seen(Component.LAGO, error)
    await watched.later(121)
    await watched.seen(Component.LAGO, error)

    assert await watched.told() == []


async def test_what_our_own_workers_fail_at_is_no_outage(watched: Watched) -> None:
    await watched.seen(Component.SYNC, "last_run_failed")
    await watched.later(121)
    await watched.seen(Component.SYNC, "last_run_failed")

    assert await watched.told() == []
