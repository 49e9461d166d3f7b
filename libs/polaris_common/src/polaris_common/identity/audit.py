"""The audit of sign-ins and rights: one writer, a closed vocabulary (domain.md §7.6).

A row is written in the transaction of what it tells about. It never holds a secret: addresses are stored as a keyed
hash, tokens and idTags as a few leading characters.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text
from starlette.requests import Request

from polaris_common.db import UnitOfWork
from polaris_common.identity.keys import KeyUse, derive_key, keyed_hash
from polaris_common.models import AuthAudit
from polaris_common.observability.logging import redact

RETENTION_DAYS = 90
MAX_USER_AGENT_LENGTH = 500

_DELETE_OLD = text("DELETE FROM auth_audit WHERE created_at < now() - make_interval(days => :days)")


class AuditEvent(StrEnum):
    """Everything that is audited."""

    MAGIC_LINK_REQUESTED = "magic_link.requested"
    MAGIC_LINK_CONSUMED = "magic_link.consumed"
    MAGIC_LINK_FAILED = "magic_link.failed"
    MAGIC_LINK_WRONG_SURFACE = "magic_link.attempted_at_wrong_surface"
    SCAN_LOGIN_SUCCESS = "scan.login_success"
    SCAN_LOGIN_FAILED = "scan.login_failed"
    SCAN_PAIRED = "scan.paired"
    SCAN_RELEASED = "scan.released"
    SCAN_DETECTED = "scan.detected"
    QR_LOGIN_SUCCESS = "qr.login_success"
    QR_LOGIN_FAILED = "qr.login_failed"
    OIDC_LOGIN_SUCCESS = "oidc.login_success"
    OIDC_LOGIN_FAILED = "oidc.login_failed"
    PASSWORD_LOGIN_SUCCESS = "password.login_success"  # noqa: S105 - an event, no password
    PASSWORD_LOGIN_FAILED = "password.login_failed"  # noqa: S105
    PASSWORD_RESET_REQUESTED = "password.reset_requested"  # noqa: S105
    PASSWORD_RESET_COMPLETED = "password.reset_completed"  # noqa: S105
    PASSWORD_RESET_FOR_NON_ADMIN = "password.reset_attempted_for_non_admin"  # noqa: S105
    SESSION_REVOKED = "session.revoked"
    SESSION_EXPIRED_CUSTOMER_TTL = "session.expired_customer_ttl"
    IMPERSONATION_START = "impersonation.start"
    IMPERSONATION_END = "impersonation.end"
    IMPERSONATION_WRITE_BLOCKED = "impersonation.write_blocked"
    CAPABILITY_DENIED = "capability.denied"
    PRIVILEGE_VIOLATION = "privilege_violation"
    USER_CREATED = "user.created"
    USER_ROLE_CHANGED = "user.role_changed"
    USER_DELETED = "user.deleted"
    CUSTOMER_ACCOUNT_AUTO_PROVISIONED = "customer.account.auto_provisioned"
    CUSTOMER_ACCOUNT_BLOCKED_ADMIN_EMAIL = "customer.account.auto_create_blocked_admin_email"
    CUSTOMER_ACTION = "customer.action"
    DEVICE_REGISTERED = "device.registered"
    DEVICE_DEREGISTERED = "device.deregistered"
    DEVICE_SCAN_ARMED = "device.scan.armed"
    DEVICE_SCAN_COMPLETED = "device.scan.completed"
    DEVICE_SCAN_RELEASED = "device.scan.released"
    DEVICE_TOKEN_ISSUED = "device.token.issued"  # noqa: S105
    DEVICE_TOKEN_REVOKED = "device.token.revoked"  # noqa: S105
    DEVICE_TOKEN_INVALID = "device.token.invalid"  # noqa: S105
    DEVICE_CAPABILITY_DENIED = "device.capability.denied"
    DEVICE_CAPABILITY_CHANGED = "device.capability.changed"
    DEVICE_SETTINGS_UPDATED = "device.settings.updated"
    USER_FEATURE_FLAGS_CHANGED = "user.feature_flags.changed"
    DEVICE_FEATURE_FLAGS_CHANGED = "device.feature_flags.changed"
    GLOBAL_FEATURE_FLAGS_CHANGED = "global.feature_flags.changed"
    SYNC_RUN_TRIGGERED = "sync_run.triggered"
    SYNC_RUN_CANCELLED = "sync_run.cancelled"
    SYNC_PINNED = "sync.pinned"
    SYNC_UNPINNED = "sync.unpinned"
    DEVICE_USER_START_CHARGE = "device.user.start_charge"
    DEVICE_USER_STOP_CHARGE = "device.user.stop_charge"
    DEVICE_USER_CANCEL_RESERVATION = "device.user.cancel_reservation"


@dataclass(frozen=True)
class Origin:
    """Where a request comes from, as the audit keeps it."""

    ip_address: str | None = None
    user_agent: str | None = None
    route: str | None = None
    """The route's template, never the path: paths may hold identifiers."""

    @classmethod
    def of(cls, request: Request) -> "Origin":
        """Where ``request`` comes from."""
        route = request.scope.get("route")
        return cls(
            ip_address=request.client.host if request.client else None,
            user_agent=request.headers.get("user-agent"),
            route=getattr(route, "path", None),
        )


class Audit:
    """Writes audit rows."""

    def __init__(self, auth_secret: str) -> None:
        self._email_key = derive_key(auth_secret, KeyUse.AUDIT_EMAIL)

    async def record(
        self,
        uow: UnitOfWork,
        event: AuditEvent,
        origin: Origin,
        *,
        user_id: UUID | None = None,
        email: str | None = None,
        **details: Any,
    ) -> None:
        """Add one row to the caller's transaction; values under secret-looking names are removed from ``details``."""
        await uow.execute(
            insert(AuthAudit).values(
                event=event,
                user_id=user_id,
                email_hash=None if email is None else self.email_hash(email),
                ip_address=origin.ip_address,
                user_agent=origin.user_agent and origin.user_agent[:MAX_USER_AGENT_LENGTH],
                route=origin.route,
                details=redact(details),
            )
        )

    def email_hash(self, email: str) -> str:
        """The keyed hash under which ``email`` is audited: 64 hexadecimal digits."""
        return keyed_hash(self._email_key, email.strip().lower()).hex()


async def delete_old(uow: UnitOfWork, *, days: int = RETENTION_DAYS) -> int:
    """Forget rows older than ``days``; how many."""
    return await uow.write(_DELETE_OLD, {"days": days})
