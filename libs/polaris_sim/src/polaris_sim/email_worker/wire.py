"""What a mail for the Worker must look like, as the Worker itself reads it (``deploy/email-worker/src/mail.ts``)."""

import json
import re
from dataclasses import dataclass

_ADDRESS = re.compile(r'[^\s@<>()\[\]\\,;:"]{1,64}@[^\s@<>()\[\]\\,;:"]{1,255}')
_WITH_NAME = re.compile(r"\s*([^<>]*?)\s*<([^<>]*)>\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_CATEGORY = re.compile(r"[a-z0-9-]{1,64}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,128}={0,2}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_LONGEST_LINE = 998
_MOST_HEADERS = 20

LONGEST_BODY = 256 * 1024


class Refused(Exception):
    """A mail that is not sent: ``status`` and machine-readable ``error``."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"{status} {error}")
        self.status, self.error = status, error


@dataclass(frozen=True)
class ReceivedMail:
    """What a body says."""

    ts: int
    nonce: str
    to: str
    sender: str
    reply_to: str | None
    subject: str
    html: str
    text: str
    category: str
    headers: dict[str, str]


def read_mail(body: bytes) -> ReceivedMail:
    """The mail in ``body``.

    Raises:
        Refused: 400, ``invalid_json`` or ``invalid_body``.
    """
    fields = _object(body)
    timestamp, to, reply_to = fields.get("ts"), _line(fields.get("to")), fields.get("replyTo")
    if type(timestamp) is not int or not _ADDRESS.fullmatch(to):
        raise _invalid()
    return ReceivedMail(
        ts=timestamp,
        to=to,
        nonce=_matching(fields.get("nonce"), _NONCE),
        sender=_sender(fields.get("from")),
        reply_to=None if reply_to is None else _sender(reply_to),
        subject=_line(fields.get("subject")),
        html=_text(fields.get("html")),
        text=_text(fields.get("text")),
        category=_matching(fields.get("category"), _CATEGORY),
        headers=_headers(fields.get("headers")),
    )


def address_of(sender: str) -> str:
    """The address in ``Name <address>`` or in an address alone, in lower case; "" where there is none."""
    with_name = _WITH_NAME.fullmatch(sender)
    address = sender.strip() if with_name is None else with_name[2]
    return address.lower() if _ADDRESS.fullmatch(address) else ""


def _object(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body.decode(), parse_constant=_no_constant)
    except ValueError:
        raise Refused(400, "invalid_json") from None
    if not isinstance(fields, dict):
        raise _invalid()
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _headers(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > _MOST_HEADERS:
        raise _invalid()
    return {_matching(name, _HEADER): _line(value) for name, value in given.items()}


def _sender(given: object) -> str:
    sender = _line(given)
    if not address_of(sender):
        raise _invalid()
    return sender


def _line(given: object) -> str:
    line = _text(given)
    if not line or len(line) > _LONGEST_LINE or _CONTROL.search(line):
        raise _invalid()
    return line


def _matching(given: object, pattern: re.Pattern[str]) -> str:
    text = _text(given)
    if not pattern.fullmatch(text):
        raise _invalid()
    return text


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise _invalid()
    return given


def _invalid() -> Refused:
    return Refused(400, "invalid_body")
