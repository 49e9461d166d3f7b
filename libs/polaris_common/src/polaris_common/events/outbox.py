"""Appending domain events in the business transaction."""

import json
import secrets
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from polaris_common.events.catalogue import DomainEvent

CHANNEL = "domain_events"
"""PostgreSQL notification that wakes the relay when a transaction with events commits."""

# One moment for the whole append, so the ids below decide the order within it. The moment is taken here and not at the
# transaction's begin: whoever has seen another transaction's work appends later than that transaction did.
_APPEND = text("""
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS appended_at
), appended AS (
    INSERT INTO domain_events (id, created_at, type, audience, payload)
    SELECT CAST(e.value ->> 'id' AS uuid), moment.appended_at, e.value ->> 'type',
           ARRAY(SELECT jsonb_array_elements_text(e.value -> 'audience')), e.value -> 'payload'
    FROM moment, jsonb_array_elements(CAST(:events AS jsonb)) AS e
)
SELECT pg_notify(:channel, '')
""")


async def append_events(session: AsyncSession, events: Sequence[DomainEvent]) -> None:
    """Write ``events`` to the log, in order, within the caller's transaction; one round trip however many they are."""
    if not events:
        return
    rows = [
        {
            "id": str(_nth_id(position)),
            "type": event.type,
            "audience": list(event.audience.names),
            "payload": event.payload(),
        }
        for position, event in enumerate(events)
    ]
    await session.execute(_APPEND, {"events": json.dumps(rows), "channel": CHANNEL})


def _nth_id(position: int) -> UUID:
    """A random id that sorts after those of smaller positions in the same append."""
    return UUID(int=position << 96 | secrets.randbits(96))
