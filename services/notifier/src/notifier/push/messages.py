"""What a push says, in Apple's words (contract-devices §1.18)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from polaris_common.identity.pairings import epoch_ms
from polaris_common.models import Pairing, PairingPurpose

SCAN_CATEGORY = "NFC_SCAN_REQUEST"
TITLES = {PairingPurpose.LOGIN: "Sign someone in"}
OTHER_TITLE = "Scan a card now"
BODY = "Tap to start the NFC scan"


@dataclass(frozen=True)
class Message:
    """One push without its address."""

    push_type: str
    priority: int
    expires_at: datetime
    """Apple gives up then."""
    collapse_id: str
    payload: dict[str, Any]


def scan_request(device_id: UUID, pairing: Pairing) -> Message:
    """Shown at once, above do-not-disturb; a tap on it opens the reader."""
    hint = pairing.hint_label
    alert = {
        "title": TITLES.get(PairingPurpose(pairing.purpose), OTHER_TITLE),
        "body": f"{BODY}: {hint}" if hint else BODY,
    }
    return Message(
        push_type="alert",
        priority=10,
        expires_at=pairing.expires_at,
        collapse_id=f"scan-{pairing.code}",
        payload={
            "aps": {
                "alert": alert,
                "sound": "default",
                "category": SCAN_CATEGORY,
                "mutable-content": 1,
                "thread-id": f"device-scan-{device_id}",
                "interruption-level": "time-sensitive",
            },
            "v": 1,
            "deviceId": str(device_id),
            "pairingCode": pairing.code,
            "purpose": pairing.purpose,
            "hintLabel": hint,
            "expiresAtEpochMs": epoch_ms(pairing.expires_at),
        },
    )


def locate(device_id: UUID, correlation_id: UUID, expires_at: datetime) -> Message:
    """Not shown; wakes the app to take its location."""
    return Message(
        push_type="background",
        priority=5,
        expires_at=expires_at,
        collapse_id=f"device.locate:{device_id}",
        payload={
            "aps": {"content-available": 1},
            "type": "device.locate",
            "correlationId": str(correlation_id),
            "expiresAtSec": int(expires_at.timestamp()),
        },
    )
