"""People on the wire of the operators' pages (contract-admin §15, §20.12)."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import StringConstraints

from gateway.auth.schemas import Email
from gateway.lists import Listed
from gateway.wire import Wire, WireTime
from polaris_common.models import Account, AuthSession, Role, TagMapping, User

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class UserCreate(Wire):
    """A new person. Without a password an operator is mailed a link to set one, and a driver signs in by mail."""

    email: Email
    name: Name
    role: Role
    password: Annotated[str, StringConstraints(min_length=12, max_length=256)] | None = None
    superadmin: bool = False


class UserRoleChange(Wire):
    """What a person shall be from now on."""

    role: Role
    superadmin: bool = False


class UserChanged(Wire):
    """A person, as creating and changing answers."""

    id: UUID
    email: str | None
    name: str | None
    role: str
    superadmin: bool

    @classmethod
    def of(cls, user: User) -> Self:
        """``user`` as they are now."""
        return cls(id=user.id, email=user.email, name=user.name, role=user.role, superadmin=user.superadmin)


class UserRow(UserChanged):
    """A line of the list."""

    public_id: str
    created_at: WireTime

    @classmethod
    def of(cls, user: User) -> Self:
        """``user`` in the list."""
        changed = UserChanged.of(user).model_dump()
        return cls(**changed, public_id=user.public_id, created_at=user.created_at)


class UserList(Listed[UserRow]):
    """One page of people."""


class MappingRead(Wire):
    """One of a person's cards."""

    id: int
    steve_ocpp_id_tag: str
    display_name: str | None
    is_active: bool

    @classmethod
    def of(cls, mapping: TagMapping) -> Self:
        """``mapping`` on its person's page."""
        return cls(
            id=mapping.id,
            steve_ocpp_id_tag=mapping.id_tag,
            display_name=mapping.display_name,
            is_active=mapping.is_active,
        )


class ActiveSessionRead(Wire):
    """Where a person is signed in."""

    id: UUID
    ip_address: str | None
    user_agent: str | None
    created_at_iso: WireTime
    updated_at_iso: WireTime
    expires_at_iso: WireTime

    @classmethod
    def of(cls, session: AuthSession) -> Self:
        """``session`` on its person's page."""
        return cls(
            id=session.id,
            ip_address=session.ip_address,
            user_agent=session.user_agent,
            created_at_iso=session.created_at,
            updated_at_iso=session.last_seen_at,
            expires_at_iso=session.expires_at,
        )


class AccountRead(Wire):
    """One way in which a person signs in."""

    id: UUID
    provider_id: str
    account_id: str
    created_at_iso: WireTime

    @classmethod
    def of(cls, account: Account) -> Self:
        """``account`` on its person's page."""
        return cls(
            id=account.id,
            provider_id=account.provider_id,
            account_id=account.account_id,
            created_at_iso=account.created_at,
        )


class UserDetail(UserChanged):
    """A person's page."""

    public_id: str
    email_verified: bool
    created_at_iso: WireTime
    onboarded_at_iso: WireTime | None
    lago_customer_external_id: str | None
    mappings: list[MappingRead]
    active_sessions: list[ActiveSessionRead]
    accounts: list[AccountRead]


class UserDeleted(Wire):
    """Who is gone."""

    success: bool = True
    id: UUID


class SessionsRevoked(Wire):
    """How many sessions ended."""

    revoked: int
