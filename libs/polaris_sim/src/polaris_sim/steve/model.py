"""What SteVe keeps: charge boxes, tags, transactions with all their stops, meter values, reservations."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum

ENERGY = "Energy.Active.Import.Register"


class AuthStatus(StrEnum):
    """OCPP 1.6 AuthorizationStatus."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT_TX = "ConcurrentTx"


class EventActor(StrEnum):
    """Who ended a transaction."""

    STATION = "station"
    MANUAL = "manual"


@dataclass(slots=True)
class StationBehaviour:
    """How the station behind one charge box answers operations."""

    answer_delay_seconds: float = 0.0
    responses: dict[str, object] = field(default_factory=dict)
    """Operation name → answer in place of the usual one; a refusal also has no effect."""
    errors: dict[str, str] = field(default_factory=dict)
    """Operation name → OCPP CALLERROR code."""
    exceptions: dict[str, str] = field(default_factory=dict)
    """Operation name → message of an exception while SteVe sends it."""
    remote_start: str = "start"
    """After an accepted RemoteStartTransaction: ``start``, ``never`` or ``twice``."""
    remote_start_delay_seconds: float = 0.0


@dataclass(slots=True)
class ChargeBox:
    """A charge box; ``charge_box_id`` compares case-insensitively."""

    charge_box_id: str
    charge_box_pk: int
    connectors: int = 1
    description: str | None = None
    ocpp_protocol: str | None = "ocpp1.6J"
    last_heartbeat: datetime | None = None
    online: bool = True
    behaviour: StationBehaviour = field(default_factory=StationBehaviour)
    transaction_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Tag:
    """An OCPP tag; ``max_active_transaction_count`` 0 means blocked, -1 unlimited."""

    id_tag: str
    ocpp_tag_pk: int
    max_active_transaction_count: int = 1
    parent_id_tag: str | None = None
    expiry_date: datetime | None = None
    note: str | None = None
    user_pk: int | None = None
    transaction_ids: set[int] = field(default_factory=set)
    active_ids: set[int] = field(default_factory=set)

    @property
    def blocked(self) -> bool:
        """Whether no transaction is allowed at all."""
        return self.max_active_transaction_count == 0

    def expired(self, now: datetime) -> bool:
        """Whether the expiry date has passed."""
        return self.expiry_date is not None and self.expiry_date <= now

    def decide(self, now: datetime) -> AuthStatus:
        """SteVe's own answer for this tag."""
        if self.blocked:
            return AuthStatus.BLOCKED
        if self.expired(now):
            return AuthStatus.EXPIRED
        if 0 <= self.max_active_transaction_count <= len(self.active_ids):
            return AuthStatus.CONCURRENT_TX
        return AuthStatus.ACCEPTED


@dataclass(slots=True, frozen=True)
class Stop:
    """One stop of a transaction; a transaction may have several."""

    event_timestamp: datetime
    """When it arrived at SteVe."""
    event_actor: EventActor
    stop_timestamp: datetime
    stop_value: str
    stop_reason: str | None = None


@dataclass(slots=True, frozen=True)
class FailedStop:
    """A stop that SteVe refused although the station got a normal answer."""

    transaction_id: int
    stop: Stop
    fail_reason: str


@dataclass(slots=True, frozen=True)
class MeterValue:
    """One sampled value; what the station left out is None."""

    value_timestamp: datetime
    value: str
    reading_context: str | None = None
    format: str | None = None
    measurand: str | None = None
    location: str | None = None
    unit: str | None = None
    phase: str | None = None

    def energy_wh(self) -> Decimal | None:
        """The register in Wh, or None if this is no plain energy reading."""
        if self.measurand not in (None, ENERGY) or self.unit not in (None, "Wh", "kWh"):
            return None
        if self.format not in (None, "Raw"):
            return None
        number = decimal_or_none(self.value)
        return number * 1000 if number is not None and self.unit == "kWh" else number


@dataclass(slots=True)
class Transaction:
    """A transaction start with all its stops; the stop that arrived last is the one that counts."""

    id: int
    charge_box: ChargeBox
    connector_id: int
    tag: Tag
    event_timestamp: datetime
    start_timestamp: datetime
    start_value: str | None
    stops: list[Stop] = field(default_factory=list)
    meter_values: list[MeterValue] = field(default_factory=list)
    json_row: str | None = None
    """The row as it was last sent; None after a change."""

    @property
    def stop(self) -> Stop | None:
        """The stop that arrived last."""
        return self.stops[-1] if self.stops else None

    @property
    def stopped_by_station(self) -> bool:
        """Whether the station itself has ended it."""
        return any(stop.event_actor is EventActor.STATION for stop in self.stops)


@dataclass(slots=True, frozen=True)
class Reservation:
    """A reservation made by ReserveNow."""

    reservation_id: int
    charge_box_id: str
    connector_id: int
    id_tag: str
    expiry: datetime


def decimal_or_none(text: str | None) -> Decimal | None:
    """The number in a value text, or None if it is empty, signed data or otherwise no number."""
    try:
        number = Decimal(text) if text else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None
