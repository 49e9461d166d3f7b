"""Pairings: one charger or device is asked to read one card (contract-customer §6, contract-devices §1.10).

``armed`` → ``matched`` when a card was read → ``consumed`` when somebody has signed in with it; ``released`` when given
up. Every question is asked with equality on columns, by the database's clock, and every step is one statement that
only one of several at the same time can win.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, literal, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from polaris_common.db import Repository, UnitOfWork
from polaris_common.identity.keys import KeyUse, derive_key, keyed_hash
from polaris_common.models import Charger, PairableType, Pairing, PairingPurpose, PairingStatus

LIFETIME = timedelta(seconds=90)
NONCE_LIFETIME_MS = 60_000
CHANNEL = "pairings"
"""PostgreSQL notification with a pairing's id, whenever its state changes."""

DEVICE_CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
DEVICE_CODE_LENGTH = 6
CHARGER_CODE_BYTES = 16
RETENTION = timedelta(days=1)

_SHOWN_TICKET_LENGTH = 32

_NOTIFY = text("SELECT pg_notify(:channel, :id)")

# The newest pairing that a card on this target can concern.
_WAITING = text("""
SELECT id, status, lower(matched_id_tag) AS matched FROM pairings
WHERE pairable_type = 'charger' AND target = :target AND expires_at > now() AND status IN ('armed', 'matched')
ORDER BY created_at DESC, id DESC LIMIT 1
""")

_HAS_OPEN_SESSION = text("""
SELECT EXISTS (
    SELECT 1 FROM charging_sessions WHERE state = 'open' AND lower(id_tag) = lower(:id_tag)
) OR EXISTS (
    SELECT 1 FROM charging_sessions s JOIN tag_mappings m ON m.user_id = s.user_id
    WHERE s.state = 'open' AND m.is_active AND lower(m.id_tag) = lower(:id_tag)
)
""")

_DELETE_OLD = text("DELETE FROM pairings WHERE expires_at < now() - CAST(:retention AS interval)")


@dataclass(frozen=True)
class Target:
    """A charge box or a device."""

    type: PairableType
    id: str


@dataclass(frozen=True)
class Waiting:
    """What a card on a charge box may be meant for."""

    pairing_id: int
    armed: bool
    matched: str | None
    """The idTag (lower case) that it was read with already."""


class AlreadyArmed(Exception):
    """The target waits for another card; ``pairing`` is the request that it waits for, if it can still be told."""

    def __init__(self, pairing: Pairing | None) -> None:
        super().__init__("already armed")
        self.pairing = pairing


class PairingRepository(Repository[Pairing]):
    """Every query on pairings."""

    model = Pairing

    async def arm(
        self,
        target: Target,
        *,
        purpose: PairingPurpose,
        ip_address: str | None,
        armed_by: UUID | None = None,
        hint_label: str | None = None,
    ) -> Pairing:
        """Ask ``target`` to read one card within 90 seconds.

        Raises:
            AlreadyArmed: it waits for one already; of two requests at the same time one gets this.
        """
        over = update(Pairing).where(
            *_on(target), Pairing.status == PairingStatus.ARMED, Pairing.expires_at <= func.now()
        )
        await self.uow.execute(over.values(status=PairingStatus.RELEASED))
        values = {
            "pairable_type": target.type,
            "target": target.id,
            "code": new_code(target.type),
            "purpose": purpose,
            "hint_label": hint_label,
            "armed_by_user_id": armed_by,
            "ip_address": ip_address,
            "expires_at": func.now() + LIFETIME,
        }
        try:
            async with self.uow.session.begin_nested():
                statement = insert(Pairing).values(values).returning(Pairing)
                return (await self.uow.session.execute(statement)).scalar_one()
        except IntegrityError as refused:
            if "pairings_armed_key" not in str(refused.orig):
                raise
        raise AlreadyArmed(await self._armed(target))

    async def get(self, target: Target, code: str, *, for_update: bool = False) -> Pairing | None:
        """The unexpired pairing with this code, whatever its status."""
        query = select(Pairing).where(*_on(target), Pairing.code == code, Pairing.expires_at > func.now())
        return await self.one_or_none(query.with_for_update() if for_update else query)

    async def armed_code(self, target: Target) -> str | None:
        """The code of the request that ``target`` waits for a card for; None when it waits for none."""
        pairing = await self._armed(target)
        return None if pairing is None else pairing.code

    async def by_id(self, pairing_id: int) -> Pairing | None:
        """A pairing, expired or not."""
        query = select(Pairing).where(Pairing.id == pairing_id)
        return await self.one_or_none(query.execution_options(populate_existing=True))

    async def waiting_at(self, charge_box_id: str) -> Waiting | None:
        """What a card on this charge box may be meant for; None for nearly every tap."""
        row = (await self.uow.execute(_WAITING, {"target": charge_box_id})).one_or_none()
        return None if row is None else Waiting(row.id, row.status == PairingStatus.ARMED, row.matched)

    async def has_open_session(self, id_tag: str) -> bool:
        """Whether the tag, or another one of its owner, is charging."""
        return bool((await self.uow.execute(_HAS_OPEN_SESSION, {"id_tag": id_tag})).scalar_one())

    async def match(self, pairing_id: int, id_tag: str) -> bool:
        """A card was read; False when the pairing waits no more."""
        return await self._move(
            [Pairing.id == pairing_id, Pairing.status == PairingStatus.ARMED],
            status=PairingStatus.MATCHED,
            matched_id_tag=id_tag,
            matched_at=func.clock_timestamp(),
        )

    async def consume(self, pairing_id: int) -> bool:
        """Somebody signs in with the card that was read; False when another one was faster."""
        return await self._move(
            [Pairing.id == pairing_id, Pairing.status == PairingStatus.MATCHED], status=PairingStatus.CONSUMED
        )

    async def release(self, target: Target, code: str, *, by: str) -> bool:
        """Give a pairing up; False when there is none to give up."""
        waiting = Pairing.status.in_((PairingStatus.ARMED, PairingStatus.MATCHED))
        return await self._move(
            [*_on(target), Pairing.code == code, waiting], status=PairingStatus.RELEASED, released_by=by
        )

    async def delete_old(self) -> int:
        """Forget pairings that expired more than a day ago; how many."""
        return await self.uow.write(_DELETE_OLD, {"retention": RETENTION})

    async def _armed(self, target: Target) -> Pairing | None:
        return await self.one_or_none(
            select(Pairing).where(*_on(target), Pairing.status == PairingStatus.ARMED, Pairing.expires_at > func.now())
        )

    async def _move(self, where: list[ColumnElement[bool]], **values: Any) -> bool:
        statement = (
            update(Pairing)
            .where(*where, Pairing.expires_at > func.now())
            .values(values)
            .returning(Pairing.id)
            .execution_options(synchronize_session=False)
        )
        moved = (await self.uow.execute(statement)).scalars().all()
        for pairing_id in moved:
            await self.uow.execute(_NOTIFY, {"channel": CHANNEL, "id": str(pairing_id)})
        return bool(moved)


class ScanTickets:
    """What a browser gets in place of the card's number, and the proof that it was read for this browser's request.

    Both are made from the pairing and the moment of the tap alone, so every replica makes the same.
    """

    def __init__(self, auth_secret: str) -> None:
        self._key = derive_key(auth_secret, KeyUse.SCAN_NONCE)

    def ticket(self, pairing: Pairing) -> str:
        """Stands for the card that was read; says nothing about it. 32 hexadecimal digits."""
        return keyed_hash(self._key, "ticket", str(pairing.id), pairing.matched_id_tag or "").hex()[
            :_SHOWN_TICKET_LENGTH
        ]

    def nonce(self, ticket: str, *, code: str, target: Target, t: int) -> str:
        """Proof that ``ticket`` was made for this pairing at ``t`` (ms since 1970): 64 hexadecimal digits."""
        return keyed_hash(self._key, "nonce", ticket, code, target.type, target.id, str(t)).hex()

    def tap(self, pairing: Pairing) -> Mapping[str, str | int]:
        """The tap as the stream tells it (contract-customer §6.4)."""
        target = Target(PairableType(pairing.pairable_type), pairing.target)
        ticket, t = self.ticket(pairing), tapped_at_ms(pairing)
        return {"idTag": ticket, "nonce": self.nonce(ticket, code=pairing.code, target=target, t=t), "t": t}


def new_code(kind: PairableType) -> str:
    """A pairing code: typed by nobody for chargers, shown to people for devices."""
    if kind is PairableType.CHARGER:
        return secrets.token_urlsafe(CHARGER_CODE_BYTES)
    return "".join(secrets.choice(DEVICE_CODE_ALPHABET) for _ in range(DEVICE_CODE_LENGTH))


def tapped_at_ms(pairing: Pairing) -> int:
    """When the card was read, in ms since 1970."""
    if pairing.matched_at is None:
        raise ValueError("no card was read")
    return epoch_ms(pairing.matched_at)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def _on(target: Target) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Pairing.pairable_type == literal(target.type.value), Pairing.target == literal(target.id)


async def charger_of(uow: UnitOfWork, given: str) -> Charger | None:
    """The charger with this charge box id, else the one with this number on its sticker."""
    query = (
        select(Charger)
        .where(or_(Charger.charge_box_id == given, Charger.public_id == given), Charger.gone_at.is_(None))
        .order_by((Charger.charge_box_id == given).desc())
        .limit(1)
    )
    return (await uow.session.execute(query)).scalar_one_or_none()


async def target_of(uow: UnitOfWork, *, charge_box_id: str | None, device_id: str | None) -> Target:
    """The target that a client means; its own spelling where we know none."""
    if charge_box_id is None:
        return Target(PairableType.DEVICE, (device_id or "").lower())
    charger = await charger_of(uow, charge_box_id)
    return Target(PairableType.CHARGER, charge_box_id if charger is None else charger.charge_box_id)
