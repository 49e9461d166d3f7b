"""Forgetting what has served its time. Every gateway tries; the one that gets the lock does it."""

import structlog
from sqlalchemy import text

from gateway.ocpp import recorder
from polaris_common.charging import sync_runs
from polaris_common.db import AdvisoryLock, Database, LockName, UnitOfWork
from polaris_common.http import idempotency
from polaris_common.identity import audit, one_time, sessions
from polaris_common.lago import inbox
from polaris_common.notifications import repository as notifications

EVERY_SECONDS = 600.0
SIGN_IN_FAILURE_DAYS = 1

_DELETE_FAILURES = text("DELETE FROM sign_in_failures WHERE updated_at < now() - make_interval(days => :days)")

log = structlog.get_logger(__name__)


async def clean_up(database: Database) -> dict[str, int]:
    """Delete what is old, each table in a transaction of its own; how many rows, nothing when another replica is at it.

    Audit: 90 days. Sessions: once they have ended. Idempotency keys: a day. One-time tokens: a day after they expired.
    Failed sign-ins: a day. Notifications, sync runs with their logs, and Lago's webhooks that went through: 90 days.
    What SteVe was told about taps: 30 days.
    """
    async with AdvisoryLock(database, LockName.HOUSEKEEPING) as lock:
        if not lock.held:
            return {}
        deleted: dict[str, int] = {}
        for name, delete in {
            "auth_audit": audit.delete_old,
            "auth_sessions": sessions.delete_expired,
            "idempotency_keys": idempotency.delete_old,
            "lago_webhook_events": inbox.delete_old,
            "notifications": notifications.delete_old,
            "one_time_tokens": one_time.delete_old,
            "sign_in_failures": _delete_old_failures,
            "sync_runs": sync_runs.delete_old_runs,
            "tap_decisions": recorder.delete_old,
        }.items():
            async with database.unit_of_work() as uow:
                deleted[name] = await delete(uow)
    if any(deleted.values()):
        log.info("cleaned_up", **deleted)
    return deleted


async def _delete_old_failures(uow: UnitOfWork) -> int:
    return await uow.write(_DELETE_FAILURES, {"days": SIGN_IN_FAILURE_DAYS})
