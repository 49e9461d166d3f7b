"""What can happen to the events in a simulated Lago's store behind everybody's back."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from polaris_sim.lago import LagoSimulator
from polaris_sim.lago.models import Event


def lose(lago: LagoSimulator, transaction_ids: Collection[str] | None = None) -> None:
    """Events (None: all) vanish without a trace."""
    _rebuild(lago, lambda event: None if transaction_ids is None or event.transaction_id in transaction_ids else event)


def corrupt(lago: LagoSimulator, transaction_id: str, **fields: Any) -> None:
    """One event says something else than what was sent."""
    _rebuild(lago, lambda event: replace(event, **fields) if event.transaction_id == transaction_id else event)


def _rebuild(lago: LagoSimulator, keep: Callable[[Event], Event | None]) -> None:
    events = lago.organization.events
    kept = [changed for event in events.raw if (changed := keep(event)) is not None]
    events.replace(kept)
