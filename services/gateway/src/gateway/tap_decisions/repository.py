"""Reading what SteVe was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from gateway.lists import LeafingBack
from polaris_common.db import UnitOfWork
from polaris_common.domain.tap_decision import TapReason
from polaris_common.models import TapDecision


@dataclass(frozen=True)
class TapFilter:
    """Which decisions: ``since`` is included, ``until`` is not."""

    id_tag_hash: bytes | None = None
    charge_box_id: str | None = None
    reason: TapReason | None = None
    blocked: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


async def decisions(uow: UnitOfWork, wanted: TapFilter, leafing: LeafingBack) -> Sequence[TapDecision]:
    """The newest rows first."""
    query = select(TapDecision).order_by(TapDecision.id.desc()).limit(leafing.to_read)
    equal = {
        TapDecision.id_tag_hash: wanted.id_tag_hash,
        TapDecision.charge_box_id: wanted.charge_box_id,
        TapDecision.reason: wanted.reason,
        TapDecision.blocked: wanted.blocked,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(TapDecision.decided_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(TapDecision.decided_at < wanted.until)
    if leafing.before is not None:
        query = query.where(TapDecision.id < leafing.before)
    return (await uow.session.scalars(query)).all()
