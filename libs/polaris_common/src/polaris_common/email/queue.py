"""Putting a mail on the queue, in the transaction of what it is about; the notifier sends it.

A link with a one-time token gets its token when the mail is written, just before it leaves: no table ever holds a
token that works. Whether the recipient may have such a link is decided then too, so that queueing a mail says nothing
about who has an account: it is the same single INSERT for every address.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from sqlalchemy import insert

from polaris_common.db import UnitOfWork
from polaris_common.email.templates import MailTemplate
from polaris_common.identity.audit import Origin
from polaris_common.models import OutgoingMail, Role, TokenPurpose

NOWHERE = Origin()


@dataclass(frozen=True)
class TokenLink:
    """A link that ends with a one-time token; only a recipient with ``role`` gets the mail at all."""

    address: str
    """Everything before the token."""
    purpose: TokenPurpose
    lifetime: timedelta
    role: Role
    payload: dict[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "address": self.address,
            "purpose": self.purpose,
            "seconds": int(self.lifetime.total_seconds()),
            "role": self.role,
            "payload": self.payload,
        }

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """From what ``stored`` made."""
        return cls(
            address=stored["address"],
            purpose=TokenPurpose(stored["purpose"]),
            lifetime=timedelta(seconds=stored["seconds"]),
            role=Role(stored["role"]),
            payload=stored["payload"],
        )


async def queue_mail(
    uow: UnitOfWork,
    template: MailTemplate,
    to: str,
    *,
    values: dict[str, Any] | None = None,
    link: TokenLink | str | None = None,
    locale: str = "en",
    origin: Origin = NOWHERE,
) -> None:
    """Send a mail to ``to`` once the caller's transaction has committed, and again until the Worker takes it.

    ``values``: what the template names. ``link``: where its button leads; with a ``TokenLink`` nobody but a person with
    its role and this address gets anything. ``origin``: who caused it, for the audit. All of it is erased from the
    queue when the mail has been sent or given up.
    """
    context = {
        "values": values or {},
        "link": link.stored() if isinstance(link, TokenLink) else link,
        "origin": {"ip_address": origin.ip_address, "user_agent": origin.user_agent, "route": origin.route},
    }
    await uow.execute(
        insert(OutgoingMail).values(
            recipient=to, category=template.category, template=template.name, context=context, locale=locale
        )
    )
