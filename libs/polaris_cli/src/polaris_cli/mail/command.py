"""``polaris mail``: seeing what mails say, whether they leave, and what became of those that did not."""

import asyncio
import sys
import uuid
from datetime import UTC, datetime
from email.utils import parseaddr
from pathlib import Path
from uuid import UUID

from polaris_cli.database import Refused, in_unit_of_work, settings
from polaris_cli.problems import BadInput, CommandError
from polaris_common.clock import to_wire
from polaris_common.email import mail_transport
from polaris_common.email.dead_letters import dead_mails, revive
from polaris_common.email.letterhead import Letterhead
from polaris_common.email.settings import EmailSettings
from polaris_common.email.templates import MAILS, Hosts, MailContent, OperatorAlert, PageMail, TokenMail, render
from polaris_common.email.templates.samples import DRIVERS_HOST, OPERATORS_HOST, SAMPLES, TOKEN
from polaris_common.email.transport import Delivery, Fate, Mail, MailTransport
from polaris_common.settings import IdentitySettings

SHOWN = 100
HINTS = {
    "401": "CF_EMAIL_WORKER_SECRET is not what the Worker has, or this host's clock is wrong by minutes.",
    "403": "The Worker does not allow this sender; compare EMAIL_FROM and EMAIL_FROM_ADMIN with its ALLOWED_SENDERS.",
    "404": "CF_EMAIL_WORKER_URL is not the Worker's address.",
    "405": "CF_EMAIL_WORKER_URL is not the Worker's address.",
    "429": "This address has had five such mails in ten minutes; wait.",
    "535": "The SMTP server refuses SMTP_USERNAME or SMTP_PASSWORD.",
    "ConnectError": "Nobody answers at CF_EMAIL_WORKER_URL.",
    "ConnectTimeout": "Nobody answers at CF_EMAIL_WORKER_URL.",
    "SSLCertVerificationError": "The SMTP server's certificate does not hold for SMTP_HOST.",
    "SMTPException": "The SMTP server may not offer STARTTLS; see SMTP_SECURITY.",
    "SMTPConnectError": "Nobody answers at SMTP_HOST and SMTP_PORT, or its certificate does not hold.",
}


class MailCliSettings(IdentitySettings, EmailSettings):
    """What a mail needs besides its values."""


class NotSent(CommandError):
    """The transport did not take the mail."""


def preview(name: str | None, *, locale: str, out: Path | None) -> int:
    """Print the text of one mail or of all with sample values; with ``out`` write HTML and text there instead.

    Raises:
        BadInput: there is no such mail, or ``out`` cannot be written.
    """
    if name is not None and name not in MAILS:
        raise BadInput(f"There is no mail {name}; there are {', '.join(MAILS)}.")
    for sample in (each for each in SAMPLES if name in (None, each.name)):
        text = render(sample, _sample_link(sample), locale=locale, time_zone="Europe/Berlin")
        if out is None:
            sys.stdout.write(f"=== {sample.name}\nSubject: {text.subject}\n\n{text.text.replace(chr(13), '')}\n")
        else:
            for suffix, content in (("html", text.html), ("txt", text.text)):
                sys.stdout.write(f"{_written(out, f'{sample.name}.{suffix}', content)}\n")
    return 0


def send_test(to: str, *, as_drivers: bool) -> int:
    """Send one mail to ``to``, past the queue, and say what became of it.

    Raises:
        BadInput: mail is not configured, or ``to`` is no address.
        NotSent: the transport did not take it.
    """
    configured = settings(MailCliSettings)
    transport = mail_transport(configured)
    if transport is None:
        raise BadInput("Mail is off: set CF_EMAIL_WORKER_URL and CF_EMAIL_WORKER_SECRET, or SMTP_HOST.")
    if parseaddr(to)[1] != to or "@" not in to:
        raise BadInput(f"{to} is no e-mail address.")
    head = Letterhead.of(configured, configured)
    sender = head.drivers if as_drivers else head.operators
    alert = OperatorAlert(
        headline="mail works",
        explanation="This is a test that an operator asked for. There is nothing to do.",
        occurred_at=datetime.now(UTC),
        subject_of=None,
        path="/",
    )
    written = head.mail(alert, head.hosts.page(alert.brand, alert.page()), id=uuid.uuid4(), to=to)
    mail = Mail(written.id, to, sender, written.reply_to, written.category, written.text)
    delivery = asyncio.run(_send(transport, mail))
    if delivery.fate is not Fate.SENT:
        raise NotSent(_explained(delivery))
    sys.stdout.write(f"{type(transport).__name__} took the mail from {sender} to {to}.\n")
    return 0


def dead() -> int:
    """Print the mails that were given up, the latest first."""
    mails = asyncio.run(in_unit_of_work(lambda uow: dead_mails(uow, limit=SHOWN)))
    for mail in mails:
        given_up = to_wire(mail.dead_at) if mail.dead_at else ""
        facts = (mail.id, given_up, mail.category, f"to {mail.recipient}", f"tries {mail.attempts}", mail.last_error)
        sys.stdout.write(f"{'  '.join(str(fact) for fact in facts if fact is not None)}\n")
    sys.stdout.write(f"{len(mails)} given up{' (the latest)' if len(mails) == SHOWN else ''}.\n")
    return 0


def retry(mail_id: UUID | None, *, all_of_them: bool) -> int:
    """Have mails that were given up tried again.

    Raises:
        BadInput: it is not said which.
        Refused: the mail is not among those given up.
    """
    if (mail_id is None) != all_of_them:
        raise BadInput("Say either which mail (polaris mail dead lists them) or --all.")
    count = asyncio.run(in_unit_of_work(lambda uow: revive(uow, mail_id)))
    if not count and mail_id is not None:
        raise Refused(f"{mail_id} is not among the mails that were given up.")
    sys.stdout.write(f"{count} will be tried again.\n")
    return 0


async def _send(transport: MailTransport, mail: Mail) -> Delivery:
    try:
        return await transport.send(mail)
    finally:
        await transport.close()


def _explained(delivery: Delivery) -> str:
    reason = delivery.reason or "no reason given"
    hint = HINTS.get(reason.split(" ")[0], "")
    return f"The mail was not taken: {reason}. {hint}".rstrip()


def _sample_link(sample: MailContent) -> str:
    match sample:
        case TokenMail(link=link):
            return link.address + TOKEN
        case PageMail():
            return Hosts(DRIVERS_HOST, OPERATORS_HOST).page(sample.brand, sample.page())
    raise AssertionError(f"{sample.name} has no button")


def _written(folder: Path, name: str, content: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise BadInput(f"{folder} cannot be written ({type(error).__name__}).") from None
    return folder / name
