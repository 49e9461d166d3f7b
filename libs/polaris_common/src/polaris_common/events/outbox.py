"""Appending domain events in the business transaction."""

from collections.abc import Sequence

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from polaris_common.events.catalogue import DomainEvent
from polaris_common.models.events import DomainEventRow

CHANNEL = "domain_events"
"""PostgreSQL notification that wakes the relay when a transaction with events commits."""


async def append_events(session: AsyncSession, events: Sequence[DomainEvent]) -> None:
    """Write ``events`` to the log, in order, within the caller's transaction."""
    if not events:
        return
    await session.execute(
        insert(DomainEventRow),
        [{"type": event.type, "audience": list(event.audience.names), "payload": event.payload()} for event in events],
    )
    await session.execute(text(f"NOTIFY {CHANNEL}"))
