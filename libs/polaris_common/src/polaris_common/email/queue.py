"""Putting a mail on the queue, in the transaction of what it is about; the notifier sends it.

A link with a one-time token gets its token when the mail is written, just before it leaves: no table ever holds a
token that works. Whether the recipient may have such a link is decided then too, so that queueing a mail says nothing
about who has an account: it is the same single INSERT for every address.
"""

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import insert

from polaris_common.db import UnitOfWork
from polaris_common.email.templates import MAILS, MailContent
from polaris_common.identity.audit import Origin
from polaris_common.models import OutgoingMail

NOWHERE = Origin()

_STORED: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(mail) for name, mail in MAILS.items()}


async def queue_mail(
    uow: UnitOfWork,
    content: MailContent,
    to: str,
    *,
    locale: str | None = None,
    time_zone: str | None = None,
    origin: Origin = NOWHERE,
) -> None:
    """Send a mail to ``to`` once the caller's transaction has committed, and again until it is taken.

    ``locale`` (``de``, ``en-GB``) and ``time_zone`` (``Europe/Berlin``): the recipient's; without them the
    installation's. ``origin``: who caused it, for the audit. What the mail says is erased from the queue when it has
    been sent.
    """
    context = {"values": _STORED[content.name].dump_python(content, mode="json"), "origin": asdict(origin)}
    row = insert(OutgoingMail).values(
        recipient=to,
        category=content.category,
        template=content.name,
        context=context,
        locale=locale,
        time_zone=time_zone,
    )
    await uow.execute(row)


def queued_content(row: OutgoingMail) -> MailContent:
    """What a waiting row is to say.

    Raises:
        KeyError: no mail has this name.
        pydantic.ValidationError: a value is missing or of another kind; a ``ValueError``.
    """
    content: MailContent = _STORED[row.template].validate_python(row.context["values"])
    return content


def queued_origin(row: OutgoingMail) -> Origin:
    """Who caused a waiting row."""
    return Origin(**row.context["origin"])
