"""What can be wrong with arming, reading and signing in; codes as the contract spells them (§6)."""

from polaris_common.http.errors import ApiError, Forbidden, Unauthorized


class InvalidJson(ApiError):
    """The body is not JSON."""

    status, code, message = 400, "invalid_json", "The body is not JSON."


class InvalidPairableType(ApiError):
    """Neither charger nor device."""

    status, code, message = 400, "invalid_pairableType", "A card is read by a charger or by a device."


class ChargerRequired(ApiError):
    """No charger is named."""

    status, code, message = 400, "chargeBoxId required", "Say which charger: enter the number on it."


class DeviceRequired(ApiError):
    """No device is named."""

    status, code, message = 400, "deviceId required", "Say which device."


class CodeRequired(ApiError):
    """No pairing is named."""

    status, code, message = 400, "pairingCode required", "Say which request."


class NoChargersOnline(ApiError):
    """No charger could read a card now."""

    status, code, message = 400, "no_chargers_online", "No charger is online."


class PresenceRequired(Forbidden):
    """The caller has not shown that they stand at the charger."""

    code, message = "presence_required", "Enter the number on the charger."


class ScanSignInAttended(Forbidden):
    """Only operators may ask for a card here."""

    code, message = "scan_sign_in_attended", "Signing in with a card is done by an operator here."


class ChargerAlreadyArmed(ApiError):
    """The charger waits for another card."""

    status, code, message = 409, "already_armed_for_charger", "Somebody else is signing in at this charger."


class DeviceAlreadyArmed(ApiError):
    """The device waits for another card."""

    status, code, message = 409, "already_armed_for_device", "Somebody else is signing in with this device."


class ArmConflict(ApiError):
    """The device waits for another card (operators' route)."""

    status, code, message = 409, "conflict", "This device waits for a card already."


class DeviceRevoked(ApiError):
    """The device was removed."""

    status, code, message = 410, "device_revoked", "This device is no longer registered."


class CapabilityMissing(ApiError):
    """The device reads no cards."""

    status, code, message = 400, "capability_missing", "This device does not read cards."


class DeviceOffline(ApiError):
    """The device was not heard of lately."""

    status, code, message = 409, "device_offline", "This device is not online."


class ArmedTooOften(ApiError):
    """Too many requests for one target or from one address within the hour."""

    status, code, message = 429, "rate_limited", "Too many requests to read a card. Try again later."

    def __init__(self) -> None:
        super().__init__(headers={"retry-after": "600"})


class Stale(Forbidden):
    """The tap is older than a minute."""

    code, message = "stale", "This took too long. Hold the card to the reader again."


class NothingToRedeem(ApiError):
    """No such pairing, or it is used up. In the contract's words: too many requests."""

    status, code, message = 429, "rate_limited", "This request is over. Start again."


class UnknownCard(Unauthorized):
    """The card signs nobody in."""

    message = "Nobody can sign in with this card."


class ClockSkew(ApiError):
    """The device's clock is off, or the scan is old."""

    status, code, message = 400, "clock_skew", "The clock of this device differs from ours by more than a minute."


class InvalidNonce(ApiError):
    """The signature is not the device's."""

    status, code, message = 401, "invalid_nonce", "The signature is wrong."
