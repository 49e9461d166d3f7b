"""What a driver may do: everything while one of their cards is active, else only look back (contract §3.2)."""

from enum import StrEnum


class DriverCapability(StrEnum):
    """A right of a driver; the values are what the wire names."""

    VIEW_HISTORY = "view_history"
    START_CHARGE = "start_charge"
    STOP_CHARGE = "stop_charge"
    RESERVE = "reserve"
    MANAGE_CARDS = "manage_cards"


def capabilities_of(*, has_active_card: bool) -> frozenset[DriverCapability]:
    """The rights of a driver who has an active card, or has none."""
    return frozenset(DriverCapability) if has_active_card else frozenset({DriverCapability.VIEW_HISTORY})
