"""What SteVe's API says, read tolerantly: unknown fields are ignored, missing ones are None."""

from dataclasses import dataclass
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
            id=int(raw["id"]),
            charge_box_id=str(raw["chargeBoxId"]),
            connector_id=int(raw["connectorId"]),
            id_tag=str(raw["ocppIdTag"]),
            start_timestamp=read_time(raw["startTimestamp"]),
            start_value=raw.get("startValue"),
            stop_timestamp=None if stop is None else read_time(stop),
            stop_value=raw.get("stopValue"),
            stop_reason=raw.get("stopReason"),
            stop_event_actor=raw.get("stopEventActor"),
        )


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


def read_time(text: Any) -> datetime:
    """An ISO time with any offset; without one it is UTC, SteVe's zone.

    Raises:
        ValueError, TypeError: not a time.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
