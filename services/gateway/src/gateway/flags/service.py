"""Setting feature flags for everybody, one person or one device: one rule for all tiers."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from gateway.exact_bodies import InvalidBody
from gateway.flags import repository
from gateway.flags.repository import EVERYBODY, device_tier, user_tier
from gateway.flags.schemas import FlagChanges
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import (
    OPERATORS,
    PUBLIC,
    Audience,
    DeviceFeatureFlagsChanged,
    FeatureFlagsChanged,
    device_audience,
)
from polaris_common.feature_flags import FLAGS, device_values, differing, user_values
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Operator

MAX_OF_ONE = 32
"""Entries in one request for a person or a device; everybody's may have 50 (contract-admin §15.7, §15.8)."""


class InvalidFlag(ApiError):
    """The registry does not know the key."""

    status, code, message = 400, "invalid_flag", "There is no such feature flag."


class InvalidValue(ApiError):
    """The flag does not take the value."""

    status, code, message = 400, "invalid_value", "The feature flag does not take this value."


class UserNotFound(NotFound):
    """There is no such person."""

    code, message = "user_not_found", "There is no such user."


class DeviceNotFound(NotFound):
    """There is no such device."""

    code, message = "not_found", "There is no such device."


class DeviceGone(ApiError):
    """The device is registered no longer."""

    status, code, message = 410, "device_revoked", "This device is not registered any more."


class FlagWriter:
    """Sets flags for one operator's request."""

    def __init__(self, uow: UnitOfWork, audit: Audit, operator: Operator, origin: Origin) -> None:
        self._uow, self._audit, self._operator, self._origin = uow, audit, operator, origin

    async def for_everybody(self, changes: FlagChanges) -> list[str]:
        """Set global values; the keys that were named.

        Raises:
            InvalidFlag, InvalidValue: nothing was changed.
        """
        values = checked(changes)
        await repository.write(self._uow, EVERYBODY, values, updated_by=self._author)
        self._uow.emit(FeatureFlagsChanged(audience=Audience((PUBLIC,)), keys=sorted(values)))
        await self._record(AuditEvent.GLOBAL_FEATURE_FLAGS_CHANGED, "global", values)
        return sorted(values)

    async def for_user(self, user_id: UUID, changes: FlagChanges) -> dict[str, Any]:
        """Set a person's values; what now differs from the defaults.

        Raises:
            InvalidFlag, InvalidValue, InvalidBody, UserNotFound: nothing was changed.
        """
        values = checked(changes, most=MAX_OF_ONE)
        if not await repository.user_exists(self._uow, user_id):
            raise UserNotFound
        await repository.write(self._uow, user_tier(user_id), values, updated_by=self._author)
        self._tell(await repository.devices_of(self._uow, user_id), values)
        target = {"targetUserId": str(user_id)}
        await self._record(AuditEvent.USER_FEATURE_FLAGS_CHANGED, "user", values, **target)
        return {key: each.value for key, each in differing(await user_values(self._uow, user_id)).items()}

    async def for_device(self, device_id: UUID, changes: FlagChanges) -> dict[str, Any]:
        """Set a device's overrides; what now differs from the defaults.

        Raises:
            InvalidFlag, InvalidValue, InvalidBody, DeviceNotFound, DeviceGone: nothing was changed.
        """
        values = checked(changes, most=MAX_OF_ONE)
        device = await repository.device(self._uow, device_id)
        if device is None:
            raise DeviceNotFound
        if device.deleted_at is not None or device.revoked_at is not None:
            raise DeviceGone
        await repository.write(self._uow, device_tier(device_id), values, updated_by=self._author)
        self._tell([device_id], values)
        target = {"deviceId": str(device_id)}
        await self._record(AuditEvent.DEVICE_FEATURE_FLAGS_CHANGED, "device", values, **target)
        held = await device_values(self._uow, device_id, device.owner_user_id)
        return {key: each.value for key, each in differing(held).items()}

    @property
    def _author(self) -> str:
        return f"admin:{self._operator.user_id}"

    def _tell(self, devices: Iterable[UUID], values: dict[str, Any]) -> None:
        for device_id in devices:
            audience = Audience((OPERATORS, device_audience(device_id)))
            self._uow.emit(DeviceFeatureFlagsChanged(audience=audience, device_id=device_id, keys=sorted(values)))

    async def _record(self, event: AuditEvent, scope: str, values: dict[str, Any], **target: str) -> None:
        details: dict[str, Any] = {"scope": scope, "changedKeys": sorted(values), "values": values, **target}
        details["changedByUserId"] = str(self._operator.user_id)
        await self._audit.record(self._uow, event, self._origin, user_id=self._operator.user_id, **details)


def checked(changes: FlagChanges, *, most: int | None = None) -> dict[str, Any]:
    """The wanted values by key; None takes a value away.

    Raises:
        InvalidBody: more than ``most`` entries.
        InvalidFlag, InvalidValue: the first entry that is wrong.
    """
    if most is not None and len(changes.flags) > most:
        raise InvalidBody(fields={"issues": [{"path": "flags", "message": f"must have at most {most} entries"}]})
    for change in changes.flags:
        flag = FLAGS.get(change.key)
        if flag is None:
            raise InvalidFlag(fields={"key": change.key})
        if change.value is not None and not flag.accepts(change.value):
            issues = [{"path": "value", "message": f"must be a {flag.type_name}"}]
            raise InvalidValue(fields={"key": change.key, "issues": issues})
    return {change.key: change.value for change in changes.flags}
