"""A state machine whose steps are coroutines, on the one loop of all examples."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

T = TypeVar("T")


class LoopMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, runner: asyncio.Runner) -> None:
        super().__init__()
        self.runner, self.broken = runner, False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop of all examples."""
        try:
            return self.runner.run(work)
        except BaseException:
            self.broken = True
            raise
