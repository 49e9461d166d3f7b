"""Whatever happens, in whatever order, and whoever is killed at whatever moment: the books balance."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from polaris_sim.lago import EventStore
from tests.chaos.city import City
from tests.chaos.machine import MoneyPath


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("city", list(EventStore), indirect=True)
def test_every_watt_hour_is_sold_once_whatever_happens(city: City, runner: asyncio.Runner) -> None:
    class Example(MoneyPath):
        """The money path of this city."""

        def __init__(self) -> None:
            super().__init__(city, runner)

    run_state_machine_as_test(Example, settings=settings.get_profile("chaos"))
