"""The audit on the wire."""

from typing import Any, Self
from uuid import UUID

from gateway.lists import Leaf
from gateway.wire import Wire, WireTime
from polaris_common.models import AuthAudit


class AuditEntry(Wire):
    """Something that was audited. ``email_hash`` is keyed: equal addresses have equal hashes, nothing more."""

    id: int
    event: str
    user_id: UUID | None
    email_hash: str | None
    ip_address: str | None
    user_agent: str | None
    route: str | None
    metadata: dict[str, Any]
    created_at: WireTime

    @classmethod
    def of(cls, row: AuthAudit) -> Self:
        """One row."""
        return cls(
            id=row.id,
            event=row.event,
            user_id=row.user_id,
            email_hash=row.email_hash,
            ip_address=row.ip_address,
            user_agent=row.user_agent,
            route=row.route,
            metadata=row.details,
            created_at=row.created_at,
        )


class AuditPage(Leaf[AuditEntry]):
    """Part of the audit, newest first; ``next_cursor`` leads to what is older, null at the end."""
