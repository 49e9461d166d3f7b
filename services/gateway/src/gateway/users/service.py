"""Operators look after people. Whoever creates, changes or removes an operator must be a superadmin."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gateway.auth.password_reset import mail_reset_link
from gateway.settings import GatewaySettings
from gateway.users.repository import UserRepository
from gateway.users.schemas import AccountRead, ActiveSessionRead, MappingRead, UserChanged, UserCreate, UserDetail
from polaris_common.db import UnitOfWork
from polaris_common.http.errors import ApiError, Forbidden, NotFound, ServiceUnavailable
from polaris_common.identity import people
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Operator
from polaris_common.identity.sessions import revoke, revoke_all, sessions_of_user
from polaris_common.models import Role, User


class UserNotFound(NotFound):
    """There is no such person."""

    code, message = "user_not_found", "There is no such person."


class EmailTaken(ApiError):
    """Somebody has this address."""

    status, code, message = 409, "email_taken", "Somebody has this e-mail address already."


class CannotChangeOwnRole(ApiError):
    """Nobody changes what they are themselves."""

    status, code, message = 400, "cannot_change_own_role", "You cannot change your own role."


class CannotDeleteYourself(ApiError):
    """Nobody removes themselves."""

    status, code, message = 400, "cannot_delete_self", "You cannot delete your own account."


class CannotRevokeSelf(ApiError):
    """One's own sessions end by signing out."""

    status, code, message = 400, "cannot_revoke_self", "Sign out to end your own sessions."


class LastSuperadmin(ApiError):
    """Nobody could manage operators any more."""

    status, code, message = 409, "last_superadmin", "There must be another superadmin first."


class UserInUse(ApiError):
    """Something of theirs would go on without them."""

    status, code, message = 409, "user_in_use", "Deactivate their cards and end their charging sessions first."


class SuperadminRequired(Forbidden):
    """Only superadmins manage operators."""

    message = "This is for superadmins."


@dataclass(frozen=True)
class Users:
    """What one operator does to people, in one transaction."""

    uow: UnitOfWork
    settings: GatewaySettings
    audit: Audit
    origin: Origin
    operator: Operator

    @property
    def repository(self) -> UserRepository:
        """The queries."""
        return UserRepository(self.uow)

    async def detail(self, user_id: UUID) -> UserDetail:
        """A person's page.

        Raises:
            UserNotFound: there is no such person.
        """
        user = await self._existing(user_id)
        return UserDetail(
            **UserChanged.of(user).model_dump(),
            public_id=user.public_id,
            email_verified=user.email_verified,
            created_at_iso=user.created_at,
            onboarded_at_iso=user.onboarded_at,
            lago_customer_external_id=user.lago_customer_external_id,
            mappings=[MappingRead.of(each) for each in await self.repository.mappings(user_id)],
            active_sessions=[ActiveSessionRead.of(each) for each in await sessions_of_user(self.uow, user_id)],
            accounts=[AccountRead.of(each) for each in await self.repository.accounts(user_id)],
        )

    async def create(self, wanted: UserCreate, password_hash: str | None) -> User:
        """Add a person; without a password an operator is invited by mail.

        Raises:
            SuperadminRequired: an operator is wanted by somebody who is no superadmin.
            EmailTaken: somebody has the address.
            ServiceUnavailable: an invitation is wanted and no mail is sent here.
        """
        if wanted.role is Role.ADMIN:
            self._require_superadmin()
        superadmin = wanted.superadmin and wanted.role is Role.ADMIN
        invited = wanted.role is Role.ADMIN and password_hash is None and self.settings.admin_passwords_enabled
        if invited and not self.settings.mail_enabled:
            raise ServiceUnavailable("No invitation can be mailed here. Give a password.")
        try:
            user = await people.create_person(
                self.uow,
                email=wanted.email,
                name=wanted.name,
                role=wanted.role,
                superadmin=superadmin,
                password_hash=password_hash,
            )
        except people.EmailTaken:
            raise EmailTaken from None
        if invited:
            await mail_reset_link(self.uow, self.settings, wanted.email, origin=self.origin)
        await self._note(AuditEvent.USER_CREATED, user.id, role=user.role, superadmin=superadmin)
        return user

    async def change_role(self, user_id: UUID, role: Role, *, superadmin: bool) -> User:
        """Make a person an operator or a driver. Their sessions end when it changes anything.

        Raises:
            SuperadminRequired: the caller is none.
            UserNotFound: there is no such person.
            CannotChangeOwnRole: it is the caller.
            LastSuperadmin: nobody else could manage operators.
        """
        self._require_superadmin()
        if user_id == self.operator.user_id:
            raise CannotChangeOwnRole
        user = await self._existing(user_id, for_update=True)
        superadmin = superadmin and role is Role.ADMIN
        before = {"role": user.role, "superadmin": user.superadmin}
        if before == {"role": role, "superadmin": superadmin}:
            return user
        try:
            await people.set_role(self.uow, user, role, superadmin=superadmin)
        except people.LastSuperadmin:
            raise LastSuperadmin from None
        await self._note(AuditEvent.USER_ROLE_CHANGED, user_id, role=role, superadmin=superadmin, before=before)
        await self.uow.session.refresh(user)
        return user

    async def delete(self, user_id: UUID) -> None:
        """Remove a person.

        Raises:
            CannotDeleteYourself: it is the caller.
            UserNotFound: there is no such person.
            SuperadminRequired: it is an operator, and the caller is no superadmin.
            LastSuperadmin: nobody else could manage operators.
            UserInUse: they have active cards or charge right now.
        """
        if user_id == self.operator.user_id:
            raise CannotDeleteYourself
        user = await self._existing(user_id, for_update=True)
        if user.role == Role.ADMIN:
            self._require_superadmin()
        if user.superadmin:
            try:
                await people.require_another_superadmin(self.uow, user_id)
            except people.LastSuperadmin:
                raise LastSuperadmin from None
        blockers = [f"card:{each.id}" for each in await self.repository.mappings(user_id) if each.is_active]
        if await self.repository.is_charging(user_id):
            blockers.append("charging_session")
        if blockers:
            raise UserInUse(fields={"blockers": blockers})
        await self._note(AuditEvent.USER_DELETED, user_id, role=user.role)
        await self.repository.delete(user_id)

    async def revoke_all(self, user_id: UUID) -> int:
        """Sign a person out everywhere; how many sessions ended. Nobody's sessions are none.

        Raises:
            CannotRevokeSelf: it is the caller.
        """
        if user_id == self.operator.user_id:
            raise CannotRevokeSelf
        revoked = await revoke_all(self.uow, user_id)
        await self._note(AuditEvent.SESSION_REVOKED, user_id, revoked=revoked)
        return revoked

    async def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """End one session.

        Raises:
            NotFound: they have no such session.
        """
        if not await revoke(self.uow, user_id, session_id):
            raise NotFound
        await self._note(AuditEvent.SESSION_REVOKED, user_id, revoked=1, targetSessionId=str(session_id))

    async def _existing(self, user_id: UUID, *, for_update: bool = False) -> User:
        user = await self.repository.get(self.operator, user_id, for_update=for_update)
        if user is None:
            raise UserNotFound
        return user

    def _require_superadmin(self) -> None:
        if not self.operator.superadmin:
            raise SuperadminRequired

    async def _note(self, event: AuditEvent, target: UUID, **details: Any) -> None:
        """On record: the caller did this to ``target``."""
        noted = {"targetUserId": str(target), **details}
        await self.audit.record(self.uow, event, self.origin, user_id=self.operator.user_id, **noted)
