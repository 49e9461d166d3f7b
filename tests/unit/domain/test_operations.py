"""The catalogue of remote operations."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from polaris_common.domain.operations import CATALOGUE, OperationNotAllowed, expiry_text, validated
from polaris_sim.steve.operation_forms import validated as steve_takes

GOOD: dict[str, dict[str, Any]] = {
    "RemoteStartTransaction": {"idTag": "CARD", "connectorId": 0},
    "RemoteStopTransaction": {"transactionId": 7},
    "UnlockConnector": {"connectorId": 1},
    "ReserveNow": {"connectorId": 0, "expiry": "2027-01-01T00:00:00Z", "idTag": "CARD"},
    "CancelReservation": {"reservationId": 0},
    "TriggerMessage": {"triggerMessage": "Heartbeat"},
    "GetConfiguration": {},
    "GetCompositeSchedule": {"connectorId": 0, "durationInSeconds": 60, "chargingRateUnit": "A"},
    "GetDiagnostics": {"location": "https://example.com"},
    "GetLocalListVersion": {},
    "DataTransfer": {"vendorId": "V", "data": ""},
    "SetChargingProfile": {"connectorId": 1, "chargingProfilePk": 3},
    "ChangeAvailability": {"availType": "Inoperative"},
}


@pytest.mark.parametrize("operation", CATALOGUE)
def test_what_we_let_through_steve_takes(operation: str) -> None:
    params = validated(operation, {**GOOD[operation], "unheardOf": 1})
    assert params == GOOD[operation]
    steve_takes(operation, {**params, "chargeBoxIdList": ["CP-1"]})


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("RemoteStartTransaction", {}),
        ("RemoteStartTransaction", {"idTag": "x" * 41}),
        ("RemoteStartTransaction", {"idTag": "CARD", "connectorId": -1}),
        ("RemoteStopTransaction", {"transactionId": "7"}),
        ("UnlockConnector", {"connectorId": True}),
        ("UnlockConnector", {"connectorId": 0}),
        ("CancelReservation", {"reservationId": -1}),
        ("TriggerMessage", {"triggerMessage": "Nonsense"}),
        ("GetDiagnostics", {"location": "  "}),
        ("SetChargingProfile", {"connectorId": 1, "chargingProfilePk": 0}),
        ("ChangeAvailability", {"availType": "operative"}),
    ],
)
def test_wrong_parameters_go_no_further(operation: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validated(operation, params)


@pytest.mark.parametrize("operation", ["Reset", "ClearCache", "ClearChargingProfile", "ChangeConfiguration", ""])
def test_what_is_not_in_the_catalogue_does_not_exist(operation: str) -> None:
    with pytest.raises(OperationNotAllowed):
        validated(operation, {})


def test_an_expiry_is_written_in_utc() -> None:
    assert expiry_text(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == "2026-03-01T10:00:00Z"
