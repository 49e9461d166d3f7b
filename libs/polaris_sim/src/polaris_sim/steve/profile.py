"""Which SteVe is simulated: the differences between versions that a REST client can see."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Features:
    """What one version of SteVe offers. ``False`` means that the endpoint or the field does not exist."""

    header_key_auth: bool = False
    """A header key (3.7 and older) in place of HTTP Basic."""
    local_dates_only: bool = False
    """Query dates must come without a zone (3.7 and older)."""
    type_stopped: bool = True
    """``type=STOPPED`` is a known value."""
    user_pk: bool = True
    """Tags carry ``userPk``; the filters ``note`` and ``userFilter`` work."""
    user_id: bool = False
    """Transactions carry ``userId``; the filter ``connectorId`` works."""
    list_filters: bool = False
    """Transaction filters accept several values."""
    operations: bool = False
    details: bool = False
    stop: bool = False
    csv: bool = False
    csv_connector_column: str = "connector_pk"
    refuses_stops: bool = False
    """Implausible stops are refused and leave the transaction active (3.12 and newer)."""
    energy_values_only: bool = False
    """The details have the switch ``energyValuesOnly``."""
    drops_stale_meter_values: bool = False
    """Meter values of a transaction that the station has stopped are dropped (3.14 and newer)."""
    expire: bool = False
    charge_boxes: bool = False
    tasks: bool = False
    hooks: bool = False


class Profile(StrEnum):
    """A version of SteVe; ``3.12-fork`` is 3.12 with charge boxes, tasks and the two hooks."""

    V3_7_1 = "3.7.1"
    V3_8 = "3.8"
    V3_11 = "3.11"
    V3_12 = "3.12"
    V3_12_FORK = "3.12-fork"
    V3_13 = "3.13+"
    HEAD = "HEAD"

    @property
    def features(self) -> Features:
        """What this version offers."""
        return _FEATURES[self]


_FEATURES = {
    Profile.V3_7_1: Features(header_key_auth=True, local_dates_only=True, type_stopped=False, user_pk=False),
    Profile.V3_8: Features(),
    Profile.V3_11: Features(user_id=True, list_filters=True, operations=True),
    Profile.V3_12: Features(
        user_id=True, list_filters=True, operations=True, details=True, stop=True, csv=True, refuses_stops=True
    ),
    Profile.V3_12_FORK: Features(
        user_id=True,
        list_filters=True,
        operations=True,
        details=True,
        stop=True,
        csv=True,
        refuses_stops=True,
        charge_boxes=True,
        tasks=True,
        hooks=True,
    ),
    Profile.V3_13: Features(
        user_id=True,
        list_filters=True,
        operations=True,
        details=True,
        stop=True,
        csv=True,
        csv_connector_column="evse_pk",
        refuses_stops=True,
        energy_values_only=True,
    ),
    Profile.HEAD: Features(
        user_id=True,
        list_filters=True,
        operations=True,
        details=True,
        stop=True,
        csv=True,
        csv_connector_column="evse_pk",
        refuses_stops=True,
        energy_values_only=True,
        drops_stale_meter_values=True,
        expire=True,
    ),
}
