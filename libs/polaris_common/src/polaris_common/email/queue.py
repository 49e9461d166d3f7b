"""Putting a mail on the queue, in the transaction of what it is about; the notifier sends it.

A link with a one-time token gets its token when the mail is written, just before it leaves: no table ever holds a
token that works. Whether the recipient may have such a link is decided then too, so that queueing a mail says nothing
about who has an account: it is the same single INSERT for every address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import insert

from polaris_common.db import UnitOfWork
from polaris_common.email.templates import MAILS, MailContent
from polaris_common.identity.audit import Origin
from polaris_common.models import OutgoingMail

NOWHERE = Origin()

_STORED: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(mail) for name, mail in MAILS.items()}


@dataclass(frozen=True)
class MailTo:
    """What one recipient is to be sent.

    ``locale`` (``de``, ``en-GB``) and ``time_zone`` (``Europe/Berlin``): the recipient's; without them the
    installation's. ``origin``: who caused it, for the audit.
    """

    to: str
    content: MailContent
    locale: str | None = None
    time_zone: str | None = None
    origin: Origin = NOWHERE


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

    What the mail says is erased from the queue when it has been sent.
    """
    await queue_mails(uow, [MailTo(to, content, locale, time_zone, origin)])


async def queue_mails(uow: UnitOfWork, mails: Sequence[MailTo]) -> None:
    """As ``queue_mail``, for many."""
    if mails:
        await uow.execute(insert(OutgoingMail), [_row(each) for each in mails])


def _row(mail: MailTo) -> dict[str, object]:
    values = _STORED[mail.content.name].dump_python(mail.content, mode="json")
    return {
        "recipient": mail.to,
        "category": mail.content.category,
        "template": mail.content.name,
        "context": {"values": values, "origin": vars(mail.origin)},
        "locale": mail.locale,
        "time_zone": mail.time_zone,
    }


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
