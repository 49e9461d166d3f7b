"""Operators set a new password by a mailed link (contract-admin §16)."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from gateway.auth.failures import Failures
from gateway.settings import GatewaySettings
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.queue import queue_mail
from polaris_common.email.templates import AdminPasswordReset, TokenLink
from polaris_common.http.errors import ApiError
from polaris_common.identity import one_time
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.passwords import MIN_PASSWORD_LENGTH, hash_password
from polaris_common.identity.people import set_password, sign_out_everywhere
from polaris_common.models import Role, TokenPurpose, User

MAX_PASSWORD_LENGTH = 256


class InvalidToken(ApiError):
    """The link is unknown, used, expired or not an operator's."""

    status, code, message = 400, "invalid_token", "This link has expired or was used before. Ask for a new one."


class UnusablePassword(ApiError):
    """Too short or too long."""

    status, code = 400, "password_must_be_12_to_256_chars"
    message = "A password needs 12 to 256 characters."


async def request_reset(
    uow: UnitOfWork, settings: GatewaySettings, audit: Audit, email: str, *, origin: Origin
) -> None:
    """Mail a link to ``email`` if an operator has this address. The same two INSERTs for every address."""
    await audit.record(uow, AuditEvent.PASSWORD_RESET_REQUESTED, origin, email=email)
    await mail_reset_link(uow, settings, email, origin=origin)


async def mail_reset_link(uow: UnitOfWork, settings: GatewaySettings, email: str, *, origin: Origin) -> None:
    """The link alone: also how a new operator is invited."""
    lifetime = timedelta(seconds=settings.admin_password_reset_ttl_seconds)
    address = f"{settings.admin_base_url}/reset-password?token="
    link = TokenLink(address, TokenPurpose.PASSWORD_RESET, lifetime, Role.ADMIN)
    await queue_mail(uow, AdminPasswordReset(link), email, origin=origin)


@dataclass(frozen=True)
class PasswordReset:
    """Sets new passwords."""

    database: Database
    audit: Audit
    failures: Failures

    async def reset(self, token: str, new_password: str, *, origin: Origin) -> None:
        """Set an operator's password; all their sessions and other links end.

        Raises:
            UnusablePassword: too short or too long.
            InvalidToken: the link does not work (any more).
        """
        if not MIN_PASSWORD_LENGTH <= len(new_password) <= MAX_PASSWORD_LENGTH:
            raise UnusablePassword
        async with self.database.unit_of_work() as uow:
            if await one_time.look_at(uow, TokenPurpose.PASSWORD_RESET, token) is None:
                raise InvalidToken
        password_hash = await hash_password(new_password)  # slow: outside of any transaction
        async with self.database.unit_of_work() as uow:
            user = await self._owner(uow, token)
            if user is None:
                raise InvalidToken
            await set_password(uow, user.id, password_hash)
            await sign_out_everywhere(uow, user.id)
            await self.failures.forget(uow, user.email or "")
            event = AuditEvent.PASSWORD_RESET_COMPLETED
            await self.audit.record(uow, event, origin, user_id=user.id, email=user.email)

    async def _owner(self, uow: UnitOfWork, token: str) -> User | None:
        used = await one_time.use(uow, TokenPurpose.PASSWORD_RESET, token)
        if used is None:
            return None
        query = select(User).where(User.id == used.user_id, User.role == Role.ADMIN)
        return (await uow.execute(query)).scalar_one_or_none()
