"""What mails say: values in ``mails``, words in ``texts``, the frame in ``mail.html.j2`` and ``mail.txt.j2``."""

from polaris_common.email.templates.links import TokenLink
from polaris_common.email.templates.mails import (
    MAILS,
    AccountInactive,
    AccountReactivated,
    AdminPasswordReset,
    Brand,
    CardLost,
    InvoiceAvailable,
    MagicLink,
    MailContent,
    OperatorAlert,
    PageMail,
    ReservationCancelled,
    SessionSummary,
    TokenMail,
    Welcome,
)
from polaris_common.email.templates.rendering import Hosts, LinkRefused, MailText, render
from polaris_common.email.templates.values import Energy, Money

__all__ = [
    "MAILS",
    "AccountInactive",
    "AccountReactivated",
    "AdminPasswordReset",
    "Brand",
    "CardLost",
    "Energy",
    "Hosts",
    "InvoiceAvailable",
    "LinkRefused",
    "MagicLink",
    "MailContent",
    "MailText",
    "Money",
    "OperatorAlert",
    "PageMail",
    "ReservationCancelled",
    "SessionSummary",
    "TokenLink",
    "TokenMail",
    "Welcome",
    "render",
]
