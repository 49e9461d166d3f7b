"""One of each mail, for previews and tests."""

from datetime import UTC, date, datetime, timedelta

from polaris_common.email.templates.links import TokenLink
from polaris_common.email.templates.mails import (
    AccountInactive,
    AccountReactivated,
    AdminPasswordReset,
    CardLost,
    InvoiceAvailable,
    MagicLink,
    MailContent,
    OperatorAlert,
    ReservationCancelled,
    SessionSummary,
    Welcome,
)
from polaris_common.email.templates.values import Energy, Money
from polaris_common.models import Role, TokenPurpose

DRIVERS_HOST = "https://polaris.example.com"
OPERATORS_HOST = "https://manage.example.com"
TOKEN = "a-token-that-opens-nothing"  # noqa: S105 - a sample

_EVENING = datetime(2026, 3, 1, 17, 25, tzinfo=UTC)


def _link(address: str, purpose: TokenPurpose, role: Role, lifetime: timedelta) -> TokenLink:
    return TokenLink(address, purpose, lifetime, role)


_VERIFY = f"{DRIVERS_HOST}/auth/verify?token="
_RESET = f"{OPERATORS_HOST}/reset-password?token="

SAMPLES: tuple[MailContent, ...] = (
    MagicLink(_link(_VERIFY, TokenPurpose.MAGIC_LINK, Role.CUSTOMER, timedelta(minutes=15))),
    Welcome(_link(_VERIFY, TokenPurpose.MAGIC_LINK, Role.CUSTOMER, timedelta(days=7))),
    AdminPasswordReset(_link(_RESET, TokenPurpose.PASSWORD_RESET, Role.ADMIN, timedelta(hours=24))),
    SessionSummary(
        session_id=4711,
        charger="Nordstraße 1, left",
        started_at=_EVENING,
        ended_at=_EVENING + timedelta(hours=2, minutes=41),
        energy=Energy(wh=24_318),
        cost=Money(minor=1_094, currency="EUR"),
        card="Blue card",
    ),
    ReservationCancelled(
        charger="Nordstraße 1, left",
        starts_at=_EVENING,
        ends_at=_EVENING + timedelta(hours=3),
        reason="The charger is out of service.",
    ),
    InvoiceAvailable(
        invoice_id="1a901a90-1a90-1a90-1a90-1a901a901a90",
        number="POL-2026-03-0042",
        issued_on=date(2026, 4, 1),
        total=Money(minor=123_456, currency="EUR"),
        due_on=date(2026, 4, 15),
    ),
    AccountInactive(),
    AccountReactivated(),
    CardLost(tag_pk=17, card="Blue card", driver="Ann Example", reported_at=_EVENING, reason="Left on the bus."),
    OperatorAlert(
        headline="SteVe does not answer",
        explanation="SteVe has not answered for 10 minutes. Charging goes on, and what happens is read afterwards.",
        occurred_at=_EVENING,
        subject_of="SteVe",
        path="/notifications",
    ),
)
