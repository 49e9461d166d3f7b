"""The remote operations that exist for operators, and what their parameters must look like.

Reset, ClearCache, UpdateFirmware, SendLocalList, ClearChargingProfile and ChangeConfiguration are left to SteVe's own
pages: each can take a charger out of service or out of our control.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

AnyConnector = Annotated[int, Field(ge=0)]
"""0 is the whole charge box."""
OneConnector = Annotated[int, Field(ge=1)]
Key = Annotated[int, Field(gt=0, le=2**31 - 1)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
IdTag = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Location = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Count = Annotated[int, Field(ge=1)]


class OperationParams(BaseModel):
    """Unknown keys are dropped; camelCase on the wire; ``None`` is not sent."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", strict=True)


class RemoteStart(OperationParams):
    """Begin a session for a tag."""

    id_tag: IdTag
    connector_id: AnyConnector | None = None
    charging_profile_pk: Key | None = None


class RemoteStop(OperationParams):
    """End a transaction."""

    transaction_id: int


class UnlockConnector(OperationParams):
    """Free a stuck cable."""

    connector_id: OneConnector


class ReserveNow(OperationParams):
    """Keep a connector for a tag until ``expiry``."""

    connector_id: AnyConnector
    expiry: Text
    id_tag: IdTag


class CancelReservation(OperationParams):
    """``reservation_id`` is the charger's number, never a task's."""

    reservation_id: Annotated[int, Field(ge=0)]


class TriggerMessage(OperationParams):
    """Ask for a message; what the charger then sends is another matter than its answer."""

    trigger_message: Literal[
        "BootNotification",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "Heartbeat",
        "MeterValues",
        "StatusNotification",
    ]
    connector_id: OneConnector | None = None


class GetConfiguration(OperationParams):
    """Both empty: everything."""

    conf_key_list: list[Text] | None = None
    comma_separated_custom_conf_keys: Text | None = None


class GetCompositeSchedule(OperationParams):
    """The limits in force for so many seconds."""

    connector_id: AnyConnector
    duration_in_seconds: Count
    charging_rate_unit: Literal["A", "W"] | None = None


class GetDiagnostics(OperationParams):
    """Upload the charger's log to ``location``."""

    location: Location
    retries: Count | None = None
    retry_interval: Count | None = None
    start: Text | None = None
    stop: Text | None = None


class GetLocalListVersion(OperationParams):
    """Nothing to say."""


class DataTransfer(OperationParams):
    """Something of the vendor's own."""

    vendor_id: Text
    message_id: Text | None = None
    data: Annotated[str, StringConstraints(max_length=10_000)] | None = None


class SetChargingProfile(OperationParams):
    """Put one of SteVe's stored profiles in force."""

    connector_id: AnyConnector
    charging_profile_pk: Key
    transaction_id: Key | None = None


class ChangeAvailability(OperationParams):
    """Take a connector out of service, or back."""

    avail_type: Literal["Operative", "Inoperative"]
    connector_id: AnyConnector | None = None


CATALOGUE: Mapping[str, type[OperationParams]] = {
    "RemoteStartTransaction": RemoteStart,
    "RemoteStopTransaction": RemoteStop,
    "UnlockConnector": UnlockConnector,
    "ReserveNow": ReserveNow,
    "CancelReservation": CancelReservation,
    "TriggerMessage": TriggerMessage,
    "GetConfiguration": GetConfiguration,
    "GetCompositeSchedule": GetCompositeSchedule,
    "GetDiagnostics": GetDiagnostics,
    "GetLocalListVersion": GetLocalListVersion,
    "DataTransfer": DataTransfer,
    "SetChargingProfile": SetChargingProfile,
    "ChangeAvailability": ChangeAvailability,
}
"""By the name in SteVe's path, which is the name on our wire."""


class OperationNotAllowed(ValueError):
    """The operation does not exist here."""


def validated(operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as they are stored and sent, without what is absent.

    Raises:
        OperationNotAllowed: there is no such operation.
        pydantic.ValidationError: a parameter is missing or out of its bounds.
    """
    if operation not in CATALOGUE:
        raise OperationNotAllowed(operation)
    return CATALOGUE[operation].model_validate(dict(params)).model_dump(mode="json", by_alias=True, exclude_none=True)


def expiry_text(moment: datetime) -> str:
    """A time as operations carry it: ISO 8601 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
