"""Whatever is sent again under its key, whenever, wherever its process dies: it is done once, and no secret stays."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.conftest import some_of_the_examples
from tests.chaos.gateway import Portal, opened_portal
from tests.chaos.repeats import Repeats
from tests.support.databases import Databases


@pytest.fixture
def portal(
    runner: asyncio.Runner, databases: Databases, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Portal]:
    """The gateway of all examples."""
    opening = opened_portal(databases.fresh(), redis_url, monkeypatch)
    with structlog.testing.capture_logs():
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


@pytest.mark.timeout(7_200)
def test_what_is_sent_again_is_done_once(portal: Portal, runner: asyncio.Runner) -> None:
    class Example(Repeats):
        """Requests to this gateway."""

        def __init__(self) -> None:
            super().__init__(portal, runner)

    run_state_machine_as_test(Example, settings=some_of_the_examples())
