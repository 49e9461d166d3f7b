"""Whoever books whatever, in whatever order and at once: no plug is promised twice, even past our code."""

import asyncio

import pytest
from hypothesis.stateful import run_state_machine_as_test

from polaris_sim.lago import EventStore
from tests.chaos.booking_machine import Reservations
from tests.chaos.city import City
from tests.chaos.conftest import some_of_the_examples


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("city", [EventStore.POSTGRES], indirect=True)
def test_no_plug_is_promised_twice(city: City, runner: asyncio.Runner) -> None:
    class Example(Reservations):
        """The reservations of this city."""

        def __init__(self) -> None:
            super().__init__(city, runner)

    run_state_machine_as_test(Example, settings=some_of_the_examples())
