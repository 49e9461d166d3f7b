"""Every mail there is, as a value: what it must be told, and where its button leads.

What it says stands in ``texts``, by the same name, in every language. To add a mail, add a class here, its texts there
and a sample in ``samples``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from urllib.parse import quote

from polaris_common.email.templates.links import TokenLink
from polaris_common.email.templates.values import Energy, Money


class Brand(StrEnum):
    """Whose name a mail carries; its buttons lead to this brand's host."""

    DRIVERS = "drivers"
    OPERATORS = "operators"


@dataclass(frozen=True)
class MailContent:
    """One mail's values. A text may name each field and property; what is None is left out, with its row."""

    name: ClassVar[str]
    """As the queue stores it and the texts call it."""
    category: ClassVar[str]
    """What the Worker counts by."""
    brand: ClassVar[Brand] = Brand.DRIVERS
    rows: ClassVar[tuple[str, ...]] = ()
    """What the table shows, in this order."""

    def footer(self) -> str:
        """Which of the mail's texts stands at its end."""
        return "footer"


@dataclass(frozen=True)
class PageMail(MailContent, ABC):
    """A mail whose button opens a page of ours."""

    @abstractmethod
    def page(self) -> str:
        """The page's path on the brand's host."""


@dataclass(frozen=True)
class TokenMail(MailContent):
    """A mail whose button ends with a one-time token, which is made when the mail leaves."""

    link: TokenLink

    @property
    def lifetime(self) -> timedelta:
        """How long the link works."""
        return self.link.lifetime


@dataclass(frozen=True)
class MagicLink(TokenMail):
    """A driver's way in."""

    name, category = "magic_link", "magic-link"


@dataclass(frozen=True)
class Welcome(TokenMail):
    """A new driver's first way in."""

    name, category = "welcome", "welcome"


@dataclass(frozen=True)
class AdminPasswordReset(TokenMail):
    """An operator sets their password, for the first time or again."""

    name, category, brand = "admin_password_reset", "admin-password-reset", Brand.OPERATORS


@dataclass(frozen=True)
class SessionSummary(PageMail):
    """What one charging session came to: its whole energy, not its last slice."""

    name, category = "session_summary", "session-summary"
    rows = ("charger", "started_at", "ended_at", "duration", "energy", "cost", "card")

    session_id: int
    """Ours, not SteVe's: the driver's pages know sessions by it."""
    charger: str
    started_at: datetime
    ended_at: datetime
    energy: Energy
    cost: Money | None
    """None while it is not known."""
    card: str | None

    @property
    def duration(self) -> timedelta:
        """How long the car was connected."""
        return self.ended_at - self.started_at

    def page(self) -> str:
        """The session's own page."""
        return f"/sessions/{self.session_id}"

    def footer(self) -> str:
        """Without a cost it says that the cost follows."""
        return "footer" if self.cost is not None else "footer_without_cost"


@dataclass(frozen=True)
class ReservationCancelled(PageMail):
    """A driver's reservation no longer holds."""

    name, category = "reservation_cancelled", "reservation-cancelled"
    rows = ("charger", "starts_at", "ends_at", "reason")

    charger: str
    starts_at: datetime
    ends_at: datetime
    reason: str | None

    def page(self) -> str:
        """Where to make another."""
        return "/reservations/new"


@dataclass(frozen=True)
class InvoiceAvailable(PageMail):
    """An invoice was issued."""

    name, category = "invoice_available", "invoice-available"
    rows = ("number", "issued_on", "total", "due_on")

    invoice_id: str
    """Lago's id, by which the driver's pages know invoices."""
    number: str
    issued_on: date
    total: Money
    due_on: date | None

    def page(self) -> str:
        """The invoice's own page."""
        return f"/billing/invoices/{quote(self.invoice_id, safe='')}"


@dataclass(frozen=True)
class AccountInactive(PageMail):
    """A driver's last card was switched off."""

    name, category = "account_inactive", "account-inactive"

    def page(self) -> str:
        """Their cards."""
        return "/cards"


@dataclass(frozen=True)
class AccountReactivated(PageMail):
    """A driver may charge again."""

    name, category = "account_reactivated", "account-reactivated"

    def page(self) -> str:
        """Their cards."""
        return "/cards"


@dataclass(frozen=True)
class CardLost(PageMail):
    """For operators: a driver reported a card as lost, and it no longer charges."""

    name, category, brand = "card_lost", "card-lost", Brand.OPERATORS
    rows = ("card", "driver", "reported_at", "reason")

    tag_pk: int
    """SteVe's number of the card, by which the operators' pages know it."""
    card: str
    driver: str | None
    reported_at: datetime
    reason: str | None

    def page(self) -> str:
        """The card's page."""
        return f"/tags/{self.tag_pk}"


@dataclass(frozen=True)
class OperatorAlert(PageMail):
    """For operators: something needs a person."""

    name, category, brand = "operator_alert", "operator-alert", Brand.OPERATORS
    rows = ("occurred_at", "subject_of")

    headline: str
    """A few words: they are the mail's subject."""
    explanation: str
    """A sentence or two."""
    occurred_at: datetime
    subject_of: str | None
    """Which charger, session, customer or service it is about."""
    path: str
    """The page on the operators' host that helps, e.g. ``/notifications``."""

    def page(self) -> str:
        """As ``path`` says."""
        return self.path


MAILS: dict[str, type[MailContent]] = {
    mail.name: mail
    for mail in (
        MagicLink,
        Welcome,
        AdminPasswordReset,
        SessionSummary,
        ReservationCancelled,
        InvoiceAvailable,
        AccountInactive,
        AccountReactivated,
        CardLost,
        OperatorAlert,
    )
}
"""By name, as the queue stores it."""
