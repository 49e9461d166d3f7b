"""Where cards can be held, and signing in with one that was read."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.scan_login import repository
from gateway.scan_login.problems import NothingToRedeem, Stale, UnknownCard
from gateway.scan_login.schemas import ScanLoginBody, TapTarget
from gateway.settings import GatewaySettings
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.device_capabilities import Capability
from polaris_common.domain.online import device_is_online
from polaris_common.events.catalogue import Audience, SignedInByCard, user_audience
from polaris_common.http.errors import ApiError, Forbidden
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.pairings import (
    NONCE_LIFETIME_MS,
    PairingRepository,
    ScanTickets,
    Target,
    epoch_ms,
    target_of,
)
from polaris_common.identity.principals import Operator
from polaris_common.identity.sessions import Opened, open_in_browser
from polaris_common.models import PairableType, Pairing, PairingPurpose, PairingStatus

SHOWN_OF_ID_TAG = 4


async def tap_targets(uow: UnitOfWork, operator: Operator | None) -> list[TapTarget]:
    """Where a card can be held: chargers; for operators devices too. Visitors learn of no device."""
    targets = [(each.heard_at, _charger_target(each)) for each in await repository.chargers(uow)]
    if operator is not None:
        for row in await repository.scanners(uow):
            device, now = row.AppDevice, row.now
            target = TapTarget(
                device_id=str(device.id),
                pairable_type=PairableType.DEVICE,
                kind=device.kind,
                label=device.label,
                friendly_name=device.label,
                capabilities=device.capabilities,
                is_online=device_is_online(device.last_seen_at, now),
                is_own_device=device.owner_user_id == operator.user_id,
            )
            targets.append((device.last_seen_at, target))
    return [target for _, target in sorted(targets, key=_heard_last_first)]


@dataclass(frozen=True)
class ScanLogin:
    """Signs in whoever's card was read, for requests from one origin."""

    database: Database
    settings: GatewaySettings
    audit: Audit
    tickets: ScanTickets
    origin: Origin
    browser: str | None

    async def redeem(self, body: ScanLoginBody) -> Opened:
        """Open a session for the driver whose card was read. Nothing is used up unless the session exists.

        Raises:
            Forbidden: the proof is not ours.
            Stale: the tap is older than a minute.
            NothingToRedeem: the pairing is over, used up, or was not for signing in.
            UnknownCard: the card belongs to no driver.
        """
        async with self.database.unit_of_work() as uow:
            target = await target_of(uow, charge_box_id=body.charge_box_id, device_id=body.device_id)
            opened, refusal = await self._redeem(uow, target, body)
        if opened is None:
            raise refusal
        return opened

    async def _redeem(self, uow: UnitOfWork, target: Target, body: ScanLoginBody) -> tuple[Opened | None, ApiError]:
        """A refusal is audited, so the transaction must commit all the same."""
        proof = self.tickets.nonce(body.id_tag, code=body.pairing_code, target=target, t=body.t)
        if not hmac.compare_digest(proof.encode(), body.nonce.lower().encode()):
            return await self._refuse(uow, target, "hmac_mismatch", Forbidden())
        age = epoch_ms(await repository.database_now(uow)) - body.t
        if not 0 <= age <= NONCE_LIFETIME_MS:
            return await self._refuse(uow, target, "stale_timestamp", Stale())
        pairings = PairingRepository(uow)
        pairing = await pairings.get(target, body.pairing_code, for_update=True)
        if pairing is None or not self._waits_for(pairing, body):
            return await self._refuse(uow, target, "pairing_consumed_or_expired", NothingToRedeem())
        id_tag = pairing.matched_id_tag or ""
        holder = await repository.holder_of(uow, id_tag)
        if holder is None:
            shown = id_tag[:SHOWN_OF_ID_TAG]
            return await self._refuse(uow, target, "no_mapping", UnknownCard(), idTagPrefix=shown)
        opened = await open_in_browser(
            uow,
            holder.user,
            lifetime=self.settings.customer_lifetime,
            browser=self.browser,
            ip_address=self.origin.ip_address,
            user_agent=self.origin.user_agent,
        )
        await pairings.consume(pairing.id)
        details: dict[str, Any] = {"pairableType": target.type, "pairableId": target.id, "mappingId": holder.mapping_id}
        await self.audit.record(uow, AuditEvent.SCAN_LOGIN_SUCCESS, self.origin, user_id=holder.user.id, **details)
        audience = Audience((user_audience(holder.user.id),))
        uow.emit(SignedInByCard(audience=audience, pairable_type=target.type, pairable_id=target.id))
        return opened, NothingToRedeem()

    def _waits_for(self, pairing: Pairing, body: ScanLoginBody) -> bool:
        return (
            pairing.purpose == PairingPurpose.LOGIN
            and pairing.status == PairingStatus.MATCHED
            and hmac.compare_digest(self.tickets.ticket(pairing).encode(), body.id_tag.encode())
        )

    async def _refuse(
        self, uow: UnitOfWork, target: Target, reason: str, refusal: ApiError, **details: Any
    ) -> tuple[None, ApiError]:
        known: dict[str, Any] = {"reason": reason, "pairableType": target.type, "pairableId": target.id}
        await self.audit.record(uow, AuditEvent.SCAN_LOGIN_FAILED, self.origin, **known, **details)
        return None, refusal


def _charger_target(listed: repository.ListedCharger) -> TapTarget:
    charger = listed.charger
    return TapTarget(
        device_id=charger.charge_box_id,
        pairable_type=PairableType.CHARGER,
        kind="charger",
        label=charger.friendly_name or charger.charge_box_id,
        friendly_name=charger.friendly_name,
        capabilities=[Capability.SCANNER, Capability.CHARGER],
        is_online=listed.online,
    )


def _heard_last_first(target: tuple[datetime | None, TapTarget]) -> float:
    heard_at, _ = target
    return float("inf") if heard_at is None else -heard_at.timestamp()
