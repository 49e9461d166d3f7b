"""The operations SteVe knows: what their bodies must hold and what a willing station answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polaris_sim.steve.errors import ValidationFailed


@dataclass(frozen=True)
class Params:
    """The validated body of an operation."""

    body: Mapping[str, object]

    @property
    def charge_box_ids(self) -> list[str]:
        """``chargeBoxIdList``."""
        listed = self.body["chargeBoxIdList"]
        return [str(charge_box_id) for charge_box_id in listed] if isinstance(listed, list) else []

    @property
    def id_tag(self) -> str:
        """``idTag``."""
        return self.text("idTag")

    @property
    def connector_id(self) -> int | None:
        """``connectorId``; 0 or absent means any: None."""
        return self.integer("connectorId") or None

    @property
    def charging_profile_pk(self) -> int | None:
        """``chargingProfilePk``, if named."""
        return self.integer("chargingProfilePk") if self.body.get("chargingProfilePk") is not None else None

    def text(self, name: str) -> str:
        """A text field; empty if absent."""
        value = self.body.get(name)
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        """A number field; 0 if absent."""
        value = self.body.get(name)
        return value if isinstance(value, int) else 0


@dataclass(frozen=True)
class Field:
    """One field of a body: ``kind``, whether it must be there, and its limits."""

    kind: type
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    max_length: int | None = None

    def accepts(self, value: object) -> bool:
        """Whether ``value`` may stand in this field."""
        if value is None or value in ("", []):
            return not self.required
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            return False
        if self.choices and value not in self.choices:
            return False
        if self.max_length is not None and isinstance(value, str) and len(value) > self.max_length:
            return False
        return self.minimum is None or (isinstance(value, int) and value >= self.minimum)


@dataclass(frozen=True)
class Operation:
    """One operation: its fields besides ``chargeBoxIdList``, and the usual answer."""

    answer: Callable[[Params], object]
    fields: Mapping[str, Field]
    single: bool = False
    """Exactly one station."""


def validated(name: str, body: Mapping[str, object]) -> Params:
    """Check ``body`` against the fields of operation ``name``; unknown fields are ignored.

    Raises:
        ValidationFailed: a field is missing or out of its limits.
    """
    operation = OPERATIONS[name]
    boxes = body.get("chargeBoxIdList")
    if not isinstance(boxes, list) or not boxes or (operation.single and len(boxes) != 1):
        raise ValidationFailed
    if not all(field.accepts(body.get(key)) for key, field in operation.fields.items()):
        raise ValidationFailed
    if name == "ChangeConfiguration" and not _names_a_key(body):
        raise ValidationFailed
    return Params(body)


def _names_a_key(body: Mapping[str, object]) -> bool:
    return bool(body.get("confKey" if body["keyType"] == "PREDEFINED" else "customConfKey"))


def _says(answer: object) -> Callable[[Params], object]:
    return lambda _: answer


def _configuration(params: Params) -> object:
    """A station that asks SteVe before every session: no cache, no local lists."""
    known = {
        "AuthorizationCacheEnabled": "false",
        "LocalAuthListEnabled": "false",
        "LocalAuthorizeOffline": "false",
        "LocalPreAuthorize": "false",
        "HeartbeatInterval": "14400",
        "MeterValueSampleInterval": "5",
        "StopTransactionOnInvalidId": "true",
    }
    listed = params.body.get("confKeyList")
    asked = [str(key) for key in listed] if isinstance(listed, list) else []
    asked += [key.strip() for key in params.text("commaSeparatedCustomConfKeys").split(",") if key.strip()]
    return {
        "configurationKeys": [
            {"key": key, "value": value, "readonly": False} for key, value in known.items() if not asked or key in asked
        ],
        "unknownKeys": [key for key in asked if key not in known],
    }


def _composite_schedule(params: Params) -> object:
    return {
        "status": "Accepted",
        "connectorId": params.integer("connectorId"),
        "scheduleStart": None,
        "chargingSchedule": None,
    }


_TEXT, _REQUIRED_TEXT = Field(str), Field(str, required=True)
_DATE = _REQUIRED_TEXT
_CONNECTOR = Field(int, minimum=0)
_REQUIRED_CONNECTOR = Field(int, required=True, minimum=0)
_ONE_CONNECTOR = Field(int, required=True, minimum=1)
_ID_TAG = Field(str, required=True, max_length=40)
_PROFILE = Field(int, minimum=0)
_RETRIES = {"retries": Field(int, minimum=1), "retryInterval": Field(int, minimum=1)}
_TRIGGERS = ("BootNotification", "FirmwareStatusNotification", "Heartbeat", "MeterValues", "StatusNotification")
_CERTIFICATES = ("CentralSystemRootCertificate", "ManufacturerRootCertificate")


def _choice(*choices: str, required: bool = True) -> Field:
    return Field(str, required=required, choices=choices)


OPERATIONS: dict[str, Operation] = {
    "ChangeAvailability": Operation(
        _says("Accepted"), {"availType": _choice("Inoperative", "Operative"), "connectorId": _CONNECTOR}
    ),
    "ChangeConfiguration": Operation(
        _says("Accepted"),
        {
            "keyType": _choice("PREDEFINED", "CUSTOM"),
            "confKey": _TEXT,
            "customConfKey": _TEXT,
            "value": _TEXT,
        },
    ),
    "ClearCache": Operation(_says("Accepted"), {}),
    "GetDiagnostics": Operation(_says({"fileName": "diagnostics.zip"}), {"location": _REQUIRED_TEXT, **_RETRIES}),
    "RemoteStartTransaction": Operation(
        _says("Accepted"),
        {"idTag": _ID_TAG, "connectorId": _CONNECTOR, "chargingProfilePk": _PROFILE},
        single=True,
    ),
    "RemoteStopTransaction": Operation(_says("Accepted"), {"transactionId": Field(int, required=True)}, single=True),
    "Reset": Operation(_says("Accepted"), {"resetType": _choice("Hard", "Soft")}),
    "UnlockConnector": Operation(_says("Unlocked"), {"connectorId": _ONE_CONNECTOR}, single=True),
    "UpdateFirmware": Operation(_says("OK"), {"location": _REQUIRED_TEXT, "retrieveDateTime": _DATE, **_RETRIES}),
    "ReserveNow": Operation(
        _says("Accepted"),
        {"connectorId": _REQUIRED_CONNECTOR, "expiry": _DATE, "idTag": _ID_TAG},
        single=True,
    ),
    "CancelReservation": Operation(
        _says("Accepted"), {"reservationId": Field(int, required=True, minimum=0)}, single=True
    ),
    "DataTransfer": Operation(
        _says({"status": "Accepted", "data": None}), {"vendorId": _REQUIRED_TEXT, "messageId": _TEXT, "data": _TEXT}
    ),
    "GetConfiguration": Operation(_configuration, {"confKeyList": Field(list), "commaSeparatedCustomConfKeys": _TEXT}),
    "GetLocalListVersion": Operation(_says(0), {}),
    "SendLocalList": Operation(
        _says("Accepted"),
        {
            "listVersion": Field(int, required=True),
            "updateType": _choice("Differential", "Full"),
            "sendEmptyListWhenFull": Field(bool, required=True),
            "addUpdateList": Field(list),
            "deleteList": Field(list),
        },
    ),
    "TriggerMessage": Operation(
        _says("Accepted"),
        {
            "triggerMessage": _choice("DiagnosticsStatusNotification", *_TRIGGERS),
            "connectorId": Field(int, minimum=1),
        },
    ),
    "GetCompositeSchedule": Operation(
        _composite_schedule,
        {
            "connectorId": _REQUIRED_CONNECTOR,
            "durationInSeconds": Field(int, required=True, minimum=0),
            "chargingRateUnit": _choice("W", "A", required=False),
        },
    ),
    "ClearChargingProfile": Operation(
        _says("Accepted"),
        {
            "filterType": _choice("ChargingProfileId", "OtherParameters"),
            "chargingProfilePk": _PROFILE,
            "chargingProfilePurpose": _choice("ChargePointMaxProfile", "TxDefaultProfile", "TxProfile", required=False),
            "connectorId": _CONNECTOR,
            "stackLevel": Field(int),
        },
    ),
    "SetChargingProfile": Operation(
        _says("Accepted"),
        {
            "connectorId": _REQUIRED_CONNECTOR,
            "chargingProfilePk": Field(int, required=True, minimum=0),
            "transactionId": Field(int, minimum=0),
        },
    ),
    "ExtendedTriggerMessage": Operation(
        _says("Accepted"),
        {
            "triggerMessage": _choice("LogStatusNotification", "SignChargePointCertificate", *_TRIGGERS),
            "connectorId": _CONNECTOR,
        },
    ),
    "GetLog": Operation(
        _says({"status": "Accepted", "filename": "log.zip"}),
        {"location": _REQUIRED_TEXT, "logType": _choice("DiagnosticsLog", "SecurityLog"), **_RETRIES},
    ),
    "SignedUpdateFirmware": Operation(
        _says("Accepted"),
        {
            "location": _REQUIRED_TEXT,
            "retrieveDateTime": _DATE,
            "signature": Field(str, required=True, max_length=800),
            "signingCertificate": Field(str, required=True, max_length=5500),
            **_RETRIES,
        },
    ),
    "GetInstalledCertificateIds": Operation(
        _says({"status": "NotFound", "certificateHashData": []}), {"certificateType": _choice(*_CERTIFICATES)}
    ),
    "InstallCertificate": Operation(
        _says("Accepted"),
        {
            "certificate": Field(str, required=True, max_length=5500),
            "certificateType": _choice(*_CERTIFICATES),
        },
    ),
    "DeleteCertificate": Operation(
        _says("Accepted"), {"installedCertificateId": Field(int, required=True)}, single=True
    ),
}
"""Every operation of 3.11 and newer by its name in the path."""
