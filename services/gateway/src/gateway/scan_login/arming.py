"""Asking a charger or a device to read one card.

Visitors must show that they stand at the charger, by the number on it, and may ask so often within the hour: whoever
arms a charger keeps others from charging there for a moment. Operators may arm everything.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gateway.devices.schemas import to_seconds
from gateway.devices.service import parse_id
from gateway.scan_login import repository
from gateway.scan_login.problems import (
    ArmConflict,
    ArmedTooOften,
    CapabilityMissing,
    ChargerAlreadyArmed,
    ChargerRequired,
    DeviceAlreadyArmed,
    DeviceOffline,
    DeviceRequired,
    DeviceRevoked,
    NoChargersOnline,
    PresenceRequired,
    ScanSignInAttended,
)
from gateway.scan_login.schemas import ArmBody, ReleaseBody, ScanArmBody
from polaris_common.db import UnitOfWork
from polaris_common.domain.device_capabilities import Capability
from polaris_common.domain.online import device_is_online
from polaris_common.events.catalogue import Audience, DeviceScanCancelled, DeviceScanRequested, device_audience
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.devices import DeviceRepository
from polaris_common.identity.pairings import (
    LIFETIME,
    AlreadyArmed,
    PairingRepository,
    Target,
    charger_of,
    epoch_ms,
    target_of,
)
from polaris_common.identity.principals import Operator
from polaris_common.models import AppDevice, Charger, PairableType, Pairing, PairingPurpose
from polaris_common.push.queue import queue_scan_push

ARMS_OF_CHARGER = 12
ARMS_OF_DEVICE = 6
"""What visitors may ask of one target within an hour; a charger could else be kept from charging for ever."""
ARMS_FROM_ADDRESS = 20
MAX_HINT_LENGTH = 80
LIFETIME_SECONDS = int(LIFETIME.total_seconds())


@dataclass(frozen=True)
class Arming:
    """Arms for requests from one origin, by an operator or a visitor."""

    uow: UnitOfWork
    audit: Audit
    origin: Origin
    operator: Operator | None
    open_to_visitors: bool = True

    async def for_login(self, body: ArmBody) -> Pairing:
        """Arm what a visitor wants to sign in at.

        Raises:
            ScanSignInAttended, ChargerRequired, NoChargersOnline, DeviceRequired, NotFound, PresenceRequired,
            DeviceRevoked, CapabilityMissing, DeviceOffline, ArmedTooOften, ChargerAlreadyArmed,
            DeviceAlreadyArmed: nothing is armed.
        """
        if self.operator is None and not self.open_to_visitors:
            raise ScanSignInAttended
        if body.pairable_type is PairableType.CHARGER:
            charger = await self._charger(body)
            target = Target(PairableType.CHARGER, charger.charge_box_id)
            await self._heed_limits(target, ARMS_OF_CHARGER)
            pairing = await self._arm(target, ChargerAlreadyArmed())
            await self._note(AuditEvent.SCAN_PAIRED, pairableType="charger", chargeBoxId=charger.charge_box_id)
            return pairing
        if not body.device_id:
            raise DeviceRequired
        device = await self._scanner(parse_id(body.device_id))
        target = Target(PairableType.DEVICE, str(device.id))
        await self._heed_limits(target, ARMS_OF_DEVICE)
        pairing = await self._arm(target, DeviceAlreadyArmed())
        await self._ring(device, pairing)
        await self._note(AuditEvent.SCAN_PAIRED, pairableType="device", deviceId=str(device.id))
        return pairing

    async def by_operator(self, device_id: str, body: ScanArmBody) -> Pairing:
        """Arm a device for whatever an operator wants to know of a card.

        Raises:
            NotFound, DeviceRevoked, CapabilityMissing, DeviceOffline, ArmConflict: nothing is armed.
        """
        device = await self._scanner(parse_id(device_id))
        hint = (body.hint_label or "").replace("\x00", "").strip()[:MAX_HINT_LENGTH] or None
        target = Target(PairableType.DEVICE, str(device.id))
        pairing = await self._arm(target, ArmConflict(), purpose=body.purpose, hint_label=hint)
        await self._ring(device, pairing)
        await self._note(AuditEvent.DEVICE_SCAN_ARMED, deviceId=str(device.id), purpose=body.purpose)
        return pairing

    async def disarm(self, device_id: str, code: str) -> None:
        """Give up what an operator asked of a device; safe to repeat."""
        if await self.give_up(Target(PairableType.DEVICE, device_id.lower()), code, source="admin"):
            await self._note(AuditEvent.DEVICE_SCAN_RELEASED, deviceId=device_id.lower())

    async def release(self, body: ReleaseBody) -> None:
        """Give up a pairing that the caller knows the code of; safe to repeat.

        Raises:
            ChargerRequired, DeviceRequired: no target is named.
        """
        kind = body.pairable_type or (PairableType.DEVICE if body.device_id else PairableType.CHARGER)
        if kind is PairableType.CHARGER and not body.charge_box_id:
            raise ChargerRequired
        if kind is PairableType.DEVICE and not body.device_id:
            raise DeviceRequired
        charge_box_id = body.charge_box_id if kind is PairableType.CHARGER else None
        target = await target_of(self.uow, charge_box_id=charge_box_id, device_id=body.device_id)
        existed = await self.give_up(target, body.pairing_code, source="customer")
        await self._note(AuditEvent.SCAN_RELEASED, pairableType=kind, pairableId=target.id, existed=existed)

    async def give_up(self, target: Target, code: str, *, source: str) -> bool:
        """Release a pairing and tell the device; False when there was none."""
        released = await PairingRepository(self.uow).release(target, code, by=source)
        device_id = parse_id(target.id) if target.type is PairableType.DEVICE else None
        if released and device_id is not None:
            now = await repository.database_now(self.uow)
            self.uow.emit(
                DeviceScanCancelled(
                    audience=Audience((device_audience(device_id),)),
                    device_id=device_id,
                    pairing_code=code,
                    cancelled_at=epoch_ms(now),
                    source=source,
                )
            )
        return released

    async def _charger(self, body: ArmBody) -> Charger:
        """The charger that is meant, once its presence is proven."""
        if not body.charge_box_id:
            return await self._only_one_online()
        charger = await charger_of(self.uow, body.charge_box_id)
        if charger is None:
            raise NotFound
        proven = charger.public_id in (body.charge_box_id, body.presence_code)
        if self.operator is None and not proven:
            raise PresenceRequired
        return charger

    async def _only_one_online(self) -> Charger:
        online = [each.charger for each in await repository.chargers(self.uow) if each.online]
        if not online:
            raise NoChargersOnline
        if self.operator is None or len(online) > 1:
            raise ChargerRequired
        return online[0]

    async def _scanner(self, device_id: UUID | None) -> AppDevice:
        device = None if device_id is None else await DeviceRepository(self.uow).of_id(device_id)
        if device is None:
            raise NotFound
        if device.deleted_at is not None or device.revoked_at is not None:
            raise DeviceRevoked
        if Capability.SCANNER not in device.capabilities:
            raise CapabilityMissing
        if not device_is_online(device.last_seen_at, await repository.database_now(self.uow)):
            raise DeviceOffline
        return device

    async def _heed_limits(self, target: Target, most: int) -> None:
        if self.operator is not None:
            return
        too_often = await repository.arms_of_target(self.uow, target) >= most
        if too_often or await repository.arms_from(self.uow, self.origin.ip_address) >= ARMS_FROM_ADDRESS:
            raise ArmedTooOften

    async def _arm(
        self,
        target: Target,
        refusal: ApiError,
        *,
        purpose: PairingPurpose = PairingPurpose.LOGIN,
        hint_label: str | None = None,
    ) -> Pairing:
        try:
            return await PairingRepository(self.uow).arm(
                target,
                purpose=purpose,
                ip_address=self.origin.ip_address,
                armed_by=None if self.operator is None else self.operator.user_id,
                hint_label=hint_label,
            )
        except AlreadyArmed as conflict:
            waiting = conflict.pairing
            if isinstance(refusal, ArmConflict) and waiting is not None:
                left = waiting.expires_at - await repository.database_now(self.uow)
                refusal.fields |= {
                    "pairingCode": waiting.code,
                    "expiresInSec": max(0, int(left.total_seconds())),
                    "purpose": waiting.purpose,
                }
            raise refusal from None

    async def _ring(self, device: AppDevice, pairing: Pairing) -> None:
        """Tell the device by its stream, and by a push in case that nobody looks at it."""
        await queue_scan_push(self.uow, pairing, device.id)
        self.uow.emit(
            DeviceScanRequested(
                audience=Audience((device_audience(device.id),)),
                device_id=device.id,
                pairing_code=pairing.code,
                purpose=pairing.purpose,
                expires_at_iso=to_seconds(pairing.expires_at),
                expires_at_epoch_ms=epoch_ms(pairing.expires_at),
                requested_by_user_id=pairing.armed_by_user_id,
                hint_label=pairing.hint_label,
            )
        )

    async def _note(self, event: AuditEvent, **details: Any) -> None:
        user_id = None if self.operator is None else self.operator.user_id
        await self.audit.record(self.uow, event, self.origin, user_id=user_id, **details)
