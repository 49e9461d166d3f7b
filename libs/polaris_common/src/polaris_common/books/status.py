"""How billing stands, in one look: what waits, what is stopped, what a person must look at."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import text

from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork
from polaris_common.lago.inbox import InboxRepository
from polaris_common.observability.billing_figures import billing_figures
from polaris_common.observability.health import METRIC_MISCONFIGURED, Component, read

_FINDINGS = text("""
SELECT kind, count(*) AS n FROM reconciliation_findings WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind
""")

_HELD = text("""
SELECT reason, count(*) AS n FROM session_billing WHERE status = 'held' GROUP BY reason ORDER BY reason
""")

_ALERTS = text("SELECT kind, subject, raised_at FROM billing_alerts ORDER BY raised_at, kind, subject")


async def billing_status(uow: UnitOfWork) -> dict[str, Any]:
    """Everything about billing that an operator looks at first, as a JSON object.

    Shape: ``{sending: {allowed, reason}, events: {…figures}, webhooks: {dead, failures}, held: {reason: sessions},
    findings: {kind: n}, alerts: [{kind, subject, since}], components: {name: {status, error, lastSuccessAt}}}``.
    """
    health = {name: row for name, (row, _) in (await read(uow)).items()}
    gate = health.get(Component.LAGO_METRIC)
    reason = "never_checked" if gate is None else gate.error if gate.error == METRIC_MISCONFIGURED else None
    trouble = await InboxRepository(uow).trouble()
    return {
        "sending": {"allowed": reason is None, "reason": reason},
        "events": asdict(await billing_figures(uow)),
        "webhooks": asdict(trouble),
        "held": {row.reason: row.n for row in await uow.execute(_HELD)},
        "findings": {row.kind: row.n for row in await uow.execute(_FINDINGS)},
        "alerts": [
            {"kind": row.kind, "subject": row.subject, "since": to_wire(row.raised_at)}
            for row in await uow.execute(_ALERTS)
        ],
        "components": {
            name: {
                "status": row.status,
                "error": row.error,
                "lastSuccessAt": None if row.last_success_at is None else to_wire(row.last_success_at),
            }
            for name, row in sorted(health.items())
            if name.startswith("lago") or name == Component.LEDGER_HOME
        },
    }
