"""Every query on the inbox as it is worked off: claims with a lease, and what became of each webhook."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from polaris_common.db import UnitOfWork

LEASE_SECONDS = 120
"""How long a claim keeps others away; a dead worker's claim runs out."""

_COLUMNS = "id, webhook_type, lago_object_id, external_customer_id, external_subscription_id, payload, attempts"

_CLAIM = text(f"""
UPDATE lago_webhook_events SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :lease)
WHERE id IN (
    SELECT id FROM lago_webhook_events
    WHERE status = 'pending' AND (id = :only OR CAST(:only AS bigint) IS NULL AND next_attempt_at <= now())
    ORDER BY next_attempt_at, id LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING {_COLUMNS}
""")  # noqa: S608 - no input in it

_LOCK = text("SELECT id FROM lago_webhook_events WHERE id = :id AND status = 'pending' FOR UPDATE")

_PROCESSED = text("""
UPDATE lago_webhook_events SET status = 'processed', processed_at = now(), last_error = NULL WHERE id = :id
""")

_FAILED = text("""
UPDATE lago_webhook_events
SET last_error = :error, next_attempt_at = now() + make_interval(secs => :seconds),
    status = CASE WHEN :dead THEN 'dead' ELSE status END
WHERE id = :id AND status = 'pending'
""")

_POSTPONED = text("""
UPDATE lago_webhook_events SET attempts = greatest(attempts - 1, 0), last_error = :error,
    next_attempt_at = now() + make_interval(secs => :seconds)
WHERE id = :id AND status = 'pending'
""")


@dataclass(frozen=True)
class Claimed:
    """One webhook that this worker may work on now."""

    id: int
    webhook_type: str
    lago_object_id: str | None
    external_customer_id: str | None
    external_subscription_id: str | None
    payload: dict[str, Any]
    attempts: int


class WebhookRepository:
    """The inbox within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def claim(self, limit: int, *, only: int | None = None) -> list[Claimed]:
        """Take up to ``limit`` webhooks that are due, oldest first; or the one named, due or not."""
        values = {"limit": limit, "lease": LEASE_SECONDS, "only": only}
        rows = (await self._uow.execute(_CLAIM, values)).all()
        return sorted((Claimed(**row._mapping) for row in rows), key=lambda event: event.id)

    async def lock(self, inbox_id: int) -> bool:
        """Hold the webhook until this unit of work ends; False if somebody has finished it."""
        return (await self._uow.execute(_LOCK, {"id": inbox_id})).one_or_none() is not None

    async def processed(self, inbox_id: int) -> None:
        """It is done; its effects commit with this."""
        await self._uow.execute(_PROCESSED, {"id": inbox_id})

    async def failed(self, inbox_id: int, error: str, *, seconds: float, dead: bool) -> None:
        """Try again later, or never (``dead``)."""
        await self._uow.execute(_FAILED, {"id": inbox_id, "error": error, "seconds": seconds, "dead": dead})

    async def postponed(self, inbox_id: int, error: str, *, seconds: float) -> None:
        """Lago is away, which is not the webhook's fault: the attempt does not count."""
        await self._uow.execute(_POSTPONED, {"id": inbox_id, "error": error, "seconds": seconds})
