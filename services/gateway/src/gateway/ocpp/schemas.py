"""The two hook bodies, read by hand: strict where something is used, silent about keys that nobody asked for.

These routes take thousands of bodies a second, and what passes here is written to PostgreSQL together with other
stations' samples: nothing may pass that a column cannot hold.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.http.errors import ApiError

MAX_INT = 2**31 - 1
MAX_BIGINT = 2**63 - 1
MAX_ID_LENGTH = 255
MAX_LABEL_LENGTH = 64
"""Labels are part of the readings' key, whose index entries are bounded; OCPP 1.6's longest has 31 characters."""
MAX_TIME_LENGTH = 40
FIRST_YEAR, LAST_YEAR = 1970, 2199
MILLISECONDS_FROM = 10**11


class InvalidJson(ApiError):
    """The body is not JSON."""

    status, code, message = 400, "invalid_json", "The body is not JSON."


class InvalidBody(ApiError):
    """The body is JSON but not this hook's."""

    status, code, message = 400, "invalid_body", "The body does not have the expected form."


@dataclass(frozen=True)
class Tap:
    """Somebody holds a tag to a charge box, or a transaction starts."""

    id_tag: str
    charge_box_id: str
    is_start: bool
    connector_id: int | None = None
    """None or 0: the station did not say, as with every Authorize."""
    sent_at: float | None = None
    """When SteVe asked, in s since 1970, as far as it says."""


def parse_tap(body: bytes) -> Tap:
    """The tap in a pre-authorize body.

    Raises:
        InvalidJson: not JSON.
        InvalidBody: no usable ``idTag`` and ``chargeBoxId``.
    """
    fields = _object(body)
    return Tap(
        id_tag=_name(fields.get("idTag")),
        charge_box_id=_name(fields.get("chargeBoxId")),
        is_start=fields.get("isStartTx") is True,
        connector_id=_connector(fields.get("connectorId")),
        sent_at=_seconds(fields.get("ts")),
    )


def parse_meter_values(body: bytes) -> MeterValues:
    """The MeterValue element in a meter-values body. A missing ``connectorId`` is 0, the charge box as a whole.

    Raises:
        InvalidJson: not JSON.
        InvalidBody: something is missing, of another type, or more than a column can hold.
    """
    fields = _object(body)
    connector_id = fields.get("connectorId")
    samples = fields.get("samples")
    if not isinstance(samples, list) or not samples:
        raise InvalidBody
    return MeterValues(
        transaction_id=_integer(fields.get("transactionPk"), 1, MAX_BIGINT),
        charge_box_id=_name(fields.get("chargeBoxId")),
        connector_id=0 if connector_id is None else _integer(connector_id, 0, MAX_INT),
        sampled_at=_moment(fields.get("timestamp")),
        samples=tuple(map(_sample, samples)),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body.decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidJson from None
    except ValueError:  # a number of thousands of digits
        raise InvalidBody from None
    if not isinstance(parsed, dict):
        raise InvalidBody
    return parsed


def _sample(raw: object) -> Sample:
    if not isinstance(raw, dict):
        raise InvalidBody
    value = raw.get("value")
    if not _is_text(value):
        raise InvalidBody
    return Sample(
        value,
        _label(raw.get("measurand")),
        _label(raw.get("unit")),
        _label(raw.get("context")),
        _label(raw.get("phase")),
        _label(raw.get("location")),
    )


def _label(raw: object) -> str:
    if raw is None:
        return ""
    if not _is_text(raw) or len(raw) > MAX_LABEL_LENGTH:
        raise InvalidBody
    return raw


def _name(raw: object) -> str:
    if not _is_text(raw):
        raise InvalidBody
    name = raw.strip()
    if not 0 < len(name) <= MAX_ID_LENGTH:
        raise InvalidBody
    return name


def _integer(raw: object, least: int, most: int) -> int:
    if type(raw) is not int or not least <= raw <= most:
        raise InvalidBody
    return raw


def _connector(raw: object) -> int | None:
    """A hint that nobody is refused for."""
    return raw if type(raw) is int and 0 <= raw <= MAX_INT else None


def _seconds(raw: object) -> float | None:
    """``ts``: seconds since 1970, or milliseconds when that many seconds are thousands of years."""
    if type(raw) is not int or not 0 <= raw <= MAX_BIGINT:
        return None
    return raw / 1000 if raw >= MILLISECONDS_FROM else float(raw)


def _moment(raw: object) -> datetime:
    """A date and time of ISO 8601; without an offset it is UTC (OCPP 1.6 §3.12)."""
    if not isinstance(raw, str) or not 16 <= len(raw) <= MAX_TIME_LENGTH or raw[10] not in "Tt":
        raise InvalidBody
    try:
        moment = datetime.fromisoformat(raw)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidBody from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidBody
    return moment


def _is_text(raw: object) -> TypeGuard[str]:
    """Whether PostgreSQL can store ``raw`` as text: no NUL, no half of a surrogate pair."""
    if not isinstance(raw, str) or "\x00" in raw:
        return False
    return raw.isascii() or not any("\ud800" <= character <= "\udfff" for character in raw)
