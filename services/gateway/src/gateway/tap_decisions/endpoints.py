"""What SteVe was told when it asked about tags, and why; kept 30 days."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.dependencies import CurrentOperator, Process, UnitOfWork
from gateway.lists import LeafedBack
from gateway.sessions.dates import DateText, first_moment, moment_after
from gateway.tap_decisions.repository import TapFilter, decisions
from gateway.tap_decisions.schemas import TapDecisionPage, TapDecisionRead
from polaris_common.domain.tap_decision import TapReason

router = APIRouter(prefix="/api/admin/tap-decisions", tags=["tap decisions"])

MAX_ID_LENGTH = 255


@router.get("")
async def list_tap_decisions(
    *,
    operator: CurrentOperator,
    process: Process,
    uow: UnitOfWork,
    id_tag: Annotated[str | None, Query(alias="idTag", min_length=1, max_length=MAX_ID_LENGTH)] = None,
    charge_box_id: Annotated[str | None, Query(alias="chargeBoxId", min_length=1, max_length=MAX_ID_LENGTH)] = None,
    reason: TapReason | None = None,
    blocked: bool | None = None,
    since: Annotated[DateText | None, Query(alias="from")] = None,
    until: Annotated[DateText | None, Query(alias="to")] = None,
    leafing: LeafedBack,
) -> TapDecisionPage:
    """The latest taps first. ``idTag`` finds a tag's although its number is kept nowhere."""
    wanted = TapFilter(
        id_tag_hash=None if id_tag is None else process.tag_hashes.of(id_tag.strip()),
        charge_box_id=charge_box_id,
        reason=reason,
        blocked=blocked,
        since=first_moment(since),
        until=moment_after(until),
    )
    rows = await decisions(uow, wanted, leafing)
    return TapDecisionPage.of(rows, leafing, TapDecisionRead.of, lambda row: row.id)
