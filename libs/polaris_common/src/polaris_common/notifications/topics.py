"""What people may be told about, on which channels, and what of it they cannot switch off.

There is no push channel: only scan requests are ever pushed to phones.
"""

from dataclasses import dataclass
from enum import StrEnum

from polaris_common.models import Role


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    SUCCESS = "success"
    WARN = "warn"
    ERROR = "error"


class SourceType(StrEnum):
    """What a notification is about, as clients know it."""

    INVOICE = "invoice"
    ALERT = "alert"
    SUBSCRIPTION = "subscription"
    WALLET_TRANSACTION = "wallet_transaction"
    WEBHOOK_EVENT = "webhook_event"
    SYSTEM = "system"
    MAPPING = "mapping"
    CHARGER = "charger"
    RESERVATION = "reservation"
    SESSION = "session"


class Channel(StrEnum):
    """How somebody is told."""

    IN_APP = "in_app"
    EMAIL = "email"


class Topic(StrEnum):
    """Kinds of notifications that are switched on and off together."""

    CHARGING = "charging"
    RESERVATIONS = "reservations"
    INVOICES = "invoices"
    CARDS = "cards"
    SECURITY = "security"
    BILLING_TROUBLE = "billing_trouble"
    BILLING_NOTES = "billing_notes"
    SYSTEM = "system"
    SESSIONS = "sessions"
    BOOKINGS = "bookings"
    FLEET_CARDS = "fleet_cards"
    ACCESS = "access"


@dataclass(frozen=True)
class Switch:
    """How a topic stands on one channel for somebody who has said nothing."""

    default: bool
    mandatory: bool = False
    """It cannot be switched off."""


ON, OFF, ALWAYS = Switch(default=True), Switch(default=False), Switch(default=True, mandatory=True)


@dataclass(frozen=True)
class TopicInfo:
    """One topic as its readers see it."""

    topic: Topic
    reader: Role
    label: str
    channels: dict[Channel, Switch]
    """A channel that is missing is never used."""


TOPICS = {
    info.topic: info
    for info in (
        TopicInfo(Topic.CHARGING, Role.CUSTOMER, "Charging", {Channel.IN_APP: ON, Channel.EMAIL: ON}),
        TopicInfo(Topic.RESERVATIONS, Role.CUSTOMER, "Reservations", {Channel.IN_APP: ON, Channel.EMAIL: ON}),
        TopicInfo(Topic.INVOICES, Role.CUSTOMER, "Invoices", {Channel.IN_APP: ON, Channel.EMAIL: ON}),
        TopicInfo(Topic.CARDS, Role.CUSTOMER, "Cards", {Channel.IN_APP: ALWAYS, Channel.EMAIL: ON}),
        TopicInfo(Topic.SECURITY, Role.CUSTOMER, "Security of your account", {Channel.IN_APP: ALWAYS}),
        TopicInfo(
            Topic.BILLING_TROUBLE, Role.ADMIN, "Trouble with billing", {Channel.IN_APP: ALWAYS, Channel.EMAIL: ON}
        ),
        TopicInfo(Topic.BILLING_NOTES, Role.ADMIN, "Billing", {Channel.IN_APP: ON}),
        TopicInfo(Topic.SYSTEM, Role.ADMIN, "SteVe, Lago and Polaris", {Channel.IN_APP: ALWAYS, Channel.EMAIL: ON}),
        TopicInfo(Topic.SESSIONS, Role.ADMIN, "Charging sessions", {Channel.IN_APP: ON, Channel.EMAIL: OFF}),
        TopicInfo(Topic.BOOKINGS, Role.ADMIN, "Reservations", {Channel.IN_APP: ON}),
        TopicInfo(Topic.FLEET_CARDS, Role.ADMIN, "EV cards", {Channel.IN_APP: ON, Channel.EMAIL: ON}),
        TopicInfo(Topic.ACCESS, Role.ADMIN, "Access and abuse", {Channel.IN_APP: ALWAYS, Channel.EMAIL: ON}),
    )
}
"""Every topic, in the order in which people see them."""
