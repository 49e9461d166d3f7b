"""Killing services and disturbing Lago, reproducibly by seed."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from polaris_cli.stack.processes import Supervisor

VICTIMS = ("sync-worker", "billing-bridge", "notifier")
MIN_KILLS, MAX_KILLS = 4, 8
MIN_PAUSE, MAX_PAUSE = 1.0, 3.0

_EVENTS = {"method": "POST", "path": "/events/batch"}


def lago_faults(seed: int) -> dict[str, Any]:
    """A fault plan for the simulated Lago: about every fourth batch of events meets one."""
    faults: list[dict[str, Any]] = [
        {"fault": "error_before", "status": 503, "probability": 0.04},
        {"fault": "error_after", "status": 500, "probability": 0.05},
        {"fault": "timeout_after", "seconds": 0.5, "probability": 0.04},
        {"fault": "rate_limited", "seconds": 1.0, "probability": 0.04},
        {"fault": "html_502", "probability": 0.04},
        {"fault": "reset", "probability": 0.04},
        {"fault": "reset_after", "probability": 0.05},
    ]
    return {"seed": seed, "rules": [{**_EVENTS, **fault} for fault in faults]}


@dataclass
class Chaos:
    """Kills one service after the other with SIGKILL and starts it again at once."""

    supervisor: Supervisor
    seed: int
    kills: list[str] = field(default_factory=list)
    """Who was killed, in order."""

    async def rage(self, fed: asyncio.Event) -> None:
        """Go on until everything is fed and enough were killed, at most ``MAX_KILLS`` times."""
        dice = random.Random(self.seed)
        while len(self.kills) < MAX_KILLS and not (fed.is_set() and len(self.kills) >= MIN_KILLS):
            await asyncio.sleep(dice.uniform(MIN_PAUSE, MAX_PAUSE))
            victim = dice.choice(VICTIMS)
            self.supervisor.kill(victim)
            self.supervisor.restart(victim)
            self.kills.append(victim)
