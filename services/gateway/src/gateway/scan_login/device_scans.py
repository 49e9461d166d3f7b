"""A device tells which card it has read (contract-devices §1.10)."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.scan_login import repository
from gateway.scan_login.problems import ClockSkew, InvalidNonce, NothingToRedeem
from gateway.scan_login.schemas import (
    ScannedCustomer,
    ScannedSubscription,
    ScannedTag,
    ScanResultBody,
    ScanResultRead,
    SubscriptionStatus,
)
from gateway.scan_login.service import SHOWN_OF_ID_TAG
from polaris_common.clock import to_wire
from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import DeviceScanCompleted
from polaris_common.events.live import TagSeen
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.devices import ResolvedDevice, SecretVault, scan_signature
from polaris_common.identity.pairings import PairingRepository, Target, epoch_ms
from polaris_common.identity.principals import Device
from polaris_common.models import PairableType, Pairing, PairingStatus, TagMapping

MAX_SKEW_SECONDS = 60


@dataclass(frozen=True)
class DeviceScans:
    """Takes scans of one device."""

    database: Database
    audit: Audit
    vault: SecretVault
    origin: Origin
    device: ResolvedDevice

    async def take(self, body: ScanResultBody) -> ScanResultRead:
        """Note the card that was read and say what is known of it.

        A scan that had to wait for the network counts as long as its request stands.

        Raises:
            ClockSkew: the time of the scan is more than a minute off.
            InvalidNonce: the signature is not the device's.
            NothingToRedeem: no card is waited for.
        """
        async with self.database.unit_of_work() as uow:
            read, refusal = await self._take(uow, body, body.id_tag.upper())
        if read is None:
            raise refusal
        return read

    async def find(self, code: str) -> ScanResultRead | None:
        """What an earlier scan found; None while no card was read.

        Raises:
            NotFound: no such request stands.
        """
        async with self.database.unit_of_work() as uow:
            pairing = await PairingRepository(uow).get(self._target, code)
            if pairing is None or pairing.status == PairingStatus.RELEASED:
                raise NotFound
            if pairing.status == PairingStatus.ARMED:
                return None
            return await _resolved(uow, pairing, pairing.matched_id_tag or "")

    async def _take(self, uow: UnitOfWork, body: ScanResultBody, id_tag: str) -> tuple[ScanResultRead | None, ApiError]:
        pairings = PairingRepository(uow)
        now = await repository.database_now(uow)
        pairing = await pairings.get(self._target, body.pairing_code, for_update=True)
        if not _in_time(body.ts, now, pairing):
            return None, ClockSkew()
        if not self._is_signed(body, id_tag):
            return await self._refuse(uow, "hmac_mismatch", InvalidNonce())
        if pairing is None or not await pairings.match(pairing.id, id_tag):
            return await self._refuse(uow, "pairing_consumed_or_expired", NothingToRedeem())
        read = await _resolved(uow, pairing, id_tag)
        await self.audit.record(
            uow,
            AuditEvent.DEVICE_SCAN_COMPLETED,
            self.origin,
            user_id=self._device.owner_user_id,
            deviceId=self._target.id,
            purpose=pairing.purpose,
            found=read.found,
            idTagPrefix=id_tag[:SHOWN_OF_ID_TAG],
        )
        uow.emit(
            DeviceScanCompleted(
                device_id=self._device.device_id,
                pairing_code=pairing.code,
                t=epoch_ms(now),
                success=read.found,
            )
        )
        uow.emit(TagSeen(id_tag=id_tag, seen_at=to_wire(now)))
        return read, NothingToRedeem()

    def _is_signed(self, body: ScanResultBody, id_tag: str) -> bool:
        secret = self.vault.open(self._device.device_id, self.device.sealed_secret)
        if secret is None:
            return False
        expected = scan_signature(
            secret, id_tag=id_tag, pairing_code=body.pairing_code, device_id=self._device.device_id, ts=body.ts
        )
        return hmac.compare_digest(expected.encode(), body.nonce.lower().encode())

    async def _refuse(self, uow: UnitOfWork, reason: str, refusal: ApiError) -> tuple[None, ApiError]:
        details: dict[str, Any] = {"reason": reason, "pairableType": "device", "pairableId": self._target.id}
        await self.audit.record(uow, AuditEvent.SCAN_LOGIN_FAILED, self.origin, **details)
        return None, refusal

    @property
    def _device(self) -> Device:
        return self.device.principal

    @property
    def _target(self) -> Target:
        return Target(PairableType.DEVICE, str(self._device.device_id))


def _in_time(ts: int, now: datetime, pairing: Pairing | None) -> bool:
    """Whether a scan of ``ts`` may be told now: within a minute, or later while the request it was made for stands."""
    age = int(now.timestamp()) - ts
    if abs(age) <= MAX_SKEW_SECONDS:
        return True
    return age > 0 and pairing is not None and ts >= pairing.created_at.timestamp() - MAX_SKEW_SECONDS


async def _resolved(uow: UnitOfWork, pairing: Pairing, id_tag: str) -> ScanResultRead:
    mapping = await repository.mapping_of(uow, id_tag)
    now = await repository.database_now(uow)
    if mapping is None:
        return ScanResultRead(found=False, pairing_code=pairing.code, id_tag=id_tag, resolved_at_iso=now)
    return ScanResultRead(
        found=True,
        pairing_code=pairing.code,
        id_tag=id_tag,
        resolved_at_iso=now,
        tag=ScannedTag(display_name=mapping.display_name, tag_type=mapping.tag_type),
        customer=await _customer(uow, mapping),
        subscription=await _subscription(uow, mapping),
    )


async def _customer(uow: UnitOfWork, mapping: TagMapping) -> ScannedCustomer | None:
    external_id = mapping.lago_customer_external_id
    if external_id is None:
        return None
    found = await repository.customer_of(uow, external_id)
    if found is None:
        return ScannedCustomer(display_name=mapping.display_name or external_id, slug=None)
    slug = found.payload.get("slug")
    return ScannedCustomer(display_name=found.name or slug or external_id, slug=slug)


async def _subscription(uow: UnitOfWork, mapping: TagMapping) -> ScannedSubscription | None:
    if mapping.lago_customer_external_id is None and mapping.lago_subscription_external_id is None:
        return None
    found = await repository.subscription_of(uow, mapping)
    if found is None:
        return None
    row = found.LagoSubscription
    statuses = {status.value: status for status in SubscriptionStatus}
    return ScannedSubscription(
        plan_label=found.plan_name or row.plan_code,
        status=statuses.get(row.status),
        current_period_end_iso=row.period_ending_at,
        billing_tier=mapping.billing_tier,
    )
