"""What a registered phone, tablet or laptop may be allowed to do (contract-devices §1.15)."""

from collections.abc import Collection, Sequence
from enum import StrEnum


class Capability(StrEnum):
    """Every capability on the wire; the app knows these and no others."""

    SCANNER = "scanner"
    """Reads cards and can be armed."""
    CHARGER = "charger"
    """Of charge points; never of an app."""
    USER = "user"
    """Sees and uses chargers."""
    KIOSK = "kiosk"
    """Shows one screen only."""
    MANAGED = "managed"
    """Tells where it is; granted by operators only."""


class Illegal(StrEnum):
    """Why a set of capabilities is refused."""

    EMPTY = "capabilities_must_not_be_empty"
    UNKNOWN = "capability_unknown"
    DUPLICATE = "capability_duplicate"
    NOT_FOR_APPS = "capability_not_app_eligible"
    KIOSK = "kiosk_requires_exactly_one_of_scanner_user"


OF_OPERATORS = frozenset({Capability.SCANNER, Capability.USER, Capability.KIOSK, Capability.MANAGED})
"""What an operator may grant to a device of their own."""

OF_DRIVERS = frozenset({Capability.USER})
"""What a driver's device gets: always exactly this."""


def illegal(capabilities: Sequence[str]) -> Illegal | None:
    """Why an app's device may not have exactly ``capabilities``; None when it may."""
    if not capabilities:
        return Illegal.EMPTY
    if any(each not in list(Capability) for each in capabilities):
        return Illegal.UNKNOWN
    if len(set(capabilities)) != len(capabilities):
        return Illegal.DUPLICATE
    if Capability.CHARGER in capabilities:
        return Illegal.NOT_FOR_APPS
    if Capability.KIOSK in capabilities and (Capability.SCANNER in capabilities) == (Capability.USER in capabilities):
        return Illegal.KIOSK
    return None


def granted(asked: Collection[str], allowed: Collection[str]) -> list[str]:
    """What a device gets that asks for ``asked`` with a code that allows ``allowed``, in the wire's order."""
    return [each for each in Capability if each in asked and each in allowed]
