"""Viewing a driver's account, on the wire (contract §4.23, §4.24)."""

from typing import Self
from urllib.parse import quote
from uuid import UUID

from gateway.wire import Wire, WireTime
from polaris_common.identity.sessions import Impersonation


class ImpersonationStart(Wire):
    """Whose account to view."""

    customer_user_id: UUID


class ImpersonationStarted(Wire):
    """Where the view begins and when it ends."""

    redirect_to: str
    customer_user_id: UUID
    until: WireTime

    @classmethod
    def of(cls, impersonation: Impersonation) -> Self:
        """The answer to a view that has begun."""
        customer_id = impersonation.customer.id
        return cls(
            redirect_to=f"/?as={quote(str(customer_id))}", customer_user_id=customer_id, until=impersonation.until
        )


class ImpersonationEnded(Wire):
    """Where to go now: an absolute address on the admin host."""

    redirect_to: str


class ImpersonationRead(Wire):
    """What a banner says about the account that is viewed."""

    customer_user_id: UUID
    name: str | None
    email: str | None
    until: WireTime
    read_only: bool = True

    @classmethod
    def of(cls, impersonation: Impersonation | None) -> Self | None:
        """The banner, if an account is viewed."""
        if impersonation is None:
            return None
        customer = impersonation.customer
        return cls(customer_user_id=customer.id, name=customer.name, email=customer.email, until=impersonation.until)
