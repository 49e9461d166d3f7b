"""What a rule says: which event becomes which notification."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from jinja2 import Environment, Template

from notifier.notifications.words import words
from polaris_common.events.catalogue import DomainEvent, OperatorNotice
from polaris_common.models import Role
from polaris_common.notifications.topics import Severity, SourceType, Topic

Payload = Mapping[str, Any]

_texts = Environment(autoescape=False)  # noqa: S701 - plain text; whoever shows it escapes it
_texts.filters["words"] = words


class Once(StrEnum):
    """What is the same notification when it comes again."""

    EVENT = "event"
    """Each event tells it anew."""
    A_DAY = "a_day"
    """The same subject on the same day (UTC)."""
    EVER = "ever"
    """The same subject."""


class MailKind(StrEnum):
    """The mail that goes with a notification."""

    SESSION_SUMMARY = "session_summary"
    RESERVATION_CANCELLED = "reservation_cancelled"
    INVOICE_AVAILABLE = "invoice_available"
    ACCOUNT_INACTIVE = "account_inactive"
    ACCOUNT_REACTIVATED = "account_reactivated"
    CARD_LOST = "card_lost"
    OPERATOR_ALERT = "operator_alert"


@dataclass(frozen=True)
class Rule:
    """One kind of notification and the event that it comes from."""

    kind: str
    event: type[DomainEvent]
    reader: Role
    """Operators: all of them. Drivers: the people in the event's audience, each for themselves."""
    topic: Topic
    severity: Severity | None
    """None: the event says it."""
    title: str
    body: str
    """Jinja texts over the payload's fields; codes are told by the filter ``words``."""
    when: Callable[[Payload], bool] = lambda _: True
    source: SourceType | None = None
    """None: as the event says."""
    source_id: str | None = None
    """The payload's field with the id."""
    link_id: str | None = None
    """The field that the reader's page goes by, when it is another one."""
    link_source: SourceType | None = None
    """Whose page the link opens, when it is not the source's."""
    once: Once = Once.EVENT
    subject: str | None = None
    """The payload's field that says what is the same; None: the source's id."""
    mail: MailKind | None = None

    def write(self, text: str, payload: Payload) -> str:
        """A text with the payload's values, on one line."""
        return " ".join(_template(text).render(payload).split())

    def severity_of(self, payload: Payload) -> Severity:
        """How much this event matters."""
        return self.severity if self.severity is not None else Severity(payload["severity"])

    def source_of(self, payload: Payload) -> tuple[SourceType | None, str | None]:
        """What it is about."""
        source = self.source if self.source is not None else _known_source(payload.get("sourceType"))
        found = payload.get(self.source_id or "sourceId")
        return source, None if found is None else str(found)

    def dedupe_key(self, payload: Payload, *, event_id: str, at: datetime, reader: str) -> str:
        """What makes the same thing, told again to the same reader, the same notification."""
        subject = payload.get(self.subject) if self.subject else self.source_of(payload)[1]
        match self.once:
            case Once.EVENT:
                which = event_id
            case Once.A_DAY:
                which = f"{subject}:{at:%Y-%m-%d}"
            case Once.EVER:
                which = str(subject)
        return f"{self.kind}:{reader}:{which}"


def notice(
    kind: str,
    topic: Topic,
    title: str,
    body: str,
    *,
    once: Once = Once.EVENT,
    mail: MailKind | None = None,
    source: SourceType | None = None,
) -> Rule:
    """A rule for one kind of ``OperatorNotice``, which says severity and source itself."""
    return Rule(
        kind=kind,
        event=OperatorNotice,
        reader=Role.ADMIN,
        topic=topic,
        severity=None,
        title=title,
        body=body,
        when=lambda payload: payload["kind"] == kind,
        source=source,
        once=once,
        mail=mail,
    )


@cache
def _template(text: str) -> Template:
    return _texts.from_string(text)


def _known_source(name: object) -> SourceType:
    return next((source for source in SourceType if source == name), SourceType.SYSTEM)
