"""Feature flags: the registry in code, values in four tiers (domain.md §7.5).

What a device sees is its own override, else its owner's value, else everybody's, else the registry's default. Values
equal to the default do not go over the wire. Keys and values that the registry does not know (any more) are ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import StrictBool, TypeAdapter, ValidationError
from sqlalchemy import select

from polaris_common.db import UnitOfWork
from polaris_common.models import DeviceFeatureFlagOverride, GlobalFeatureFlagValue, UserFeatureFlagValue

_TYPE_NAMES = {bool: "boolean", str: "string", int: "int", float: "double", list: "array", dict: "object"}


@dataclass(frozen=True)
class Flag:
    """One flag: what it may hold and what it is when nobody has set it."""

    key: str
    values: TypeAdapter[Any]
    default: Any
    description: str

    @property
    def type_name(self) -> str:
        """The kind of value, as operators read it."""
        return _TYPE_NAMES[type(self.default)]

    def accepts(self, value: object) -> bool:
        """Whether ``value`` may be set."""
        try:
            self.values.validate_python(value, strict=True)
        except ValidationError:
            return False
        return True


FLAGS: Mapping[str, Flag] = {
    flag.key: flag
    for flag in (
        Flag(
            "customer.connectivityCheck",
            TypeAdapter(StrictBool),
            default=True,
            description="The app shows its connectivity check to drivers.",
        ),
        Flag(
            "device.location.upload",
            TypeAdapter(StrictBool),
            default=False,
            description="Managed devices send their location.",
        ),
    )
}


@dataclass(frozen=True)
class Value:
    """What a flag is set to, since when and by whom; ``source`` is ``device``, ``user`` or ``global``."""

    value: Any
    updated_at: datetime
    updated_by: str
    source: str


async def global_values(uow: UnitOfWork) -> dict[str, Value]:
    """What is set for everybody."""
    return _known(await uow.session.scalars(select(GlobalFeatureFlagValue)), "global")


async def user_values(uow: UnitOfWork, user_id: UUID) -> dict[str, Value]:
    """What holds for one person: their own values over everybody's."""
    query = select(UserFeatureFlagValue).where(UserFeatureFlagValue.user_id == user_id)
    return await global_values(uow) | _known(await uow.session.scalars(query), "user")


async def device_values(uow: UnitOfWork, device_id: UUID, owner_user_id: UUID) -> dict[str, Value]:
    """What holds on one device: its overrides over its owner's values over everybody's."""
    query = select(DeviceFeatureFlagOverride).where(DeviceFeatureFlagOverride.device_id == device_id)
    return await user_values(uow, owner_user_id) | _known(await uow.session.scalars(query), "device")


def differing(values: Mapping[str, Value]) -> dict[str, Value]:
    """What goes over the wire: only flags that differ from their default."""
    return {key: value for key, value in values.items() if value.value != FLAGS[key].default}


Row = GlobalFeatureFlagValue | UserFeatureFlagValue | DeviceFeatureFlagOverride


def _known(rows: Iterable[Row], source: str) -> dict[str, Value]:
    return {
        row.flag_key: Value(row.value_json, row.updated_at, row.updated_by, source)
        for row in rows
        if row.flag_key in FLAGS and FLAGS[row.flag_key].accepts(row.value_json)
    }
