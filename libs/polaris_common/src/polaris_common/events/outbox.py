"""Appending domain events in the business transaction."""

import secrets
from collections.abc import Iterator, Sequence

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
    rows = [_row(event_id, event) for event_id, event in zip(_ascending_ids(len(events)), events, strict=True)]
    await session.execute(_APPEND, {"events": f"[{','.join(rows)}]", "channel": CHANNEL})


def _row(event_id: str, event: DomainEvent) -> str:
    """One event as JSON text. Ids, types and the names of audiences are our own words and need no escaping."""
    audience = '","'.join(event.audience.names)
    return f'{{"id":"{event_id}","type":"{event.type}","audience":["{audience}"],"payload":{event.payload_text()}}}'


def _ascending_ids(count: int) -> Iterator[str]:
    """Random ids, each of which sorts after those before it."""
    noise = secrets.token_hex(12 * count)
    return (f"{position:08x}{noise[24 * position : 24 * position + 24]}" for position in range(count))
