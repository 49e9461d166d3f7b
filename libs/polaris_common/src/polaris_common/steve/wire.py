"""What SteVe's API says, read tolerantly: unknown fields are ignored, missing ones are None."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class SteveTransaction:
    """One OCPP transaction as SteVe shows it. Register values stay text: whoever uses them parses them strictly."""

    id: int
    charge_box_id: str
    connector_id: int
    id_tag: str
    start_timestamp: datetime
    start_value: str | None
    stop_timestamp: datetime | None
    stop_value: str | None
    stop_reason: str | None
    stop_event_actor: str | None
    """``station`` is final; ``manual`` may still be replaced."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> "SteveTransaction":
        """From SteVe's JSON.

        Raises:
            KeyError, TypeError, ValueError: a field we cannot do without is missing or of another kind.
        """
        stop = raw.get("stopTimestamp")
        return cls(
            id=_whole(raw["id"], _MAX_ID),
            charge_box_id=_name(raw["chargeBoxId"]),
            connector_id=_whole(raw["connectorId"], _MAX_CONNECTOR),
            id_tag=_name(raw["ocppIdTag"]),
            start_timestamp=read_time(raw["startTimestamp"]),
            start_value=raw.get("startValue"),
            stop_timestamp=None if stop is None else read_time(stop),
            stop_value=raw.get("stopValue"),
            stop_reason=None if raw.get("stopReason") is None else _name(raw["stopReason"]),
            stop_event_actor=None if raw.get("stopEventActor") is None else _name(raw["stopEventActor"]),
        )


@dataclass
class SteveTransactions:
    """An answer's transactions; those that cannot be read are counted, never dropped in silence."""

    readable: list[SteveTransaction] = field(default_factory=list)
    unreadable: list[int | None] = field(default_factory=list)
    """The ids of the others, as far as even those can be read."""

    @classmethod
    def read(cls, rows: list[Any]) -> "SteveTransactions":
        """From SteVe's JSON array."""
        found = cls()
        for raw in rows:
            try:
                found.readable.append(SteveTransaction.read(raw))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                found.unreadable.append(_id_of(raw))
        return found

    def add(self, more: "SteveTransactions") -> None:
        """Take over what another answer had."""
        self.readable += more.readable
        self.unreadable += more.unreadable

    def ids(self) -> set[int]:
        """Every id in the answer."""
        return {transaction.id for transaction in self.readable} | {
            known for known in self.unreadable if known is not None
        }

    def __len__(self) -> int:
        return len(self.readable) + len(self.unreadable)


@dataclass(frozen=True)
class SteveReading:
    """One sampled value of a transaction; what SteVe leaves open is None."""

    sampled_at: datetime
    value: str
    measurand: str | None
    unit: str | None
    context: str | None
    phase: str | None
    location: str | None

    @classmethod
    def read(cls, raw: dict[str, Any]) -> "SteveReading":
        """From SteVe's JSON.

        Raises:
            KeyError, TypeError, ValueError: it has no time or no value.
        """
        return cls(
            sampled_at=read_time(raw["valueTimestamp"]),
            value=str(raw["value"]),
            measurand=raw.get("measurand"),
            unit=raw.get("unit"),
            context=raw.get("readingContext"),
            phase=raw.get("phase"),
            location=raw.get("location"),
        )


@dataclass(frozen=True)
class SteveTransactionDetail:
    """A transaction with its readings by time (3.12 and newer)."""

    transaction: SteveTransaction
    readings: list[SteveReading]


@dataclass(frozen=True)
class SteveReportedStop:
    """One line of the report by stop time (3.12 and newer), as far as it tells whether we are up to date."""

    transaction_id: int
    stop_timestamp: datetime
    stop_value: str
    stop_event_actor: str | None


@dataclass(frozen=True)
class SteveTag:
    """One OCPP tag."""

    ocpp_tag_pk: int
    id_tag: str
    parent_id_tag: str | None
    max_active_transaction_count: int
    expiry_date: datetime | None
    note: str | None

    @classmethod
    def read(cls, raw: dict[str, Any]) -> "SteveTag":
        """From SteVe's JSON.

        Raises:
            KeyError, TypeError, ValueError: the tag has no pk or no idTag.
        """
        expiry, limit = raw.get("expiryDate"), raw.get("maxActiveTransactionCount")
        return cls(
            ocpp_tag_pk=int(raw["ocppTagPk"]),
            id_tag=str(raw["idTag"]),
            parent_id_tag=raw.get("parentIdTag"),
            max_active_transaction_count=1 if limit is None else int(limit),
            expiry_date=None if expiry is None else read_time(expiry),
            note=raw.get("note"),
        )


@dataclass(frozen=True)
class SteveChargeBox:
    """One charge box (the fork's list)."""

    charge_box_id: str
    charge_box_pk: int | None
    description: str | None

    @classmethod
    def read(cls, raw: dict[str, Any]) -> "SteveChargeBox":
        """From the fork's JSON.

        Raises:
            KeyError: the box has no id.
        """
        return cls(str(raw["chargeBoxId"]), raw.get("chargeBoxPk"), raw.get("description"))


_MAX_ID = 2**63 - 1
_MAX_CONNECTOR = 2**31 - 1


def _whole(value: Any, highest: int) -> int:
    number = int(value)
    if not 0 <= number <= highest:
        raise ValueError(f"{number} is out of range")
    return number


def _name(value: Any) -> str:
    """A text that every database can keep."""
    text = str(value)
    if "\x00" in text:
        raise ValueError("a text contains NUL")
    return text


def _id_of(raw: Any) -> int | None:
    try:
        return _whole(raw["id"], _MAX_ID)
    except (KeyError, TypeError, ValueError):
        return None


def read_time(text: Any) -> datetime:
    """An ISO time with any offset; without one it is UTC, SteVe's zone.

    Raises:
        ValueError, TypeError: not a time.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
