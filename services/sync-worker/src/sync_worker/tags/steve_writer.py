"""Changing one field of a tag in SteVe and nothing else.

SteVe's PUT replaces the whole tag: what is left out is cleared, and a blocked tag whose limit is left out is unblocked.
So a tag is read right before it is written, and every field goes back as it was read. A past expiry date is refused by
SteVe and cannot be sent back; leaving it out would make an expired tag valid again. Such a tag is left as it is: SteVe
refuses it at the charger anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from http import HTTPStatus

import structlog

from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveTag, SteveUnavailable
from polaris_common.steve.tag_calls import is_expired, replace_tag, tag_by_pk

log = structlog.get_logger(__name__)


class WriteResult(StrEnum):
    """What became of a write."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    """The tag was as it should be already."""
    MOVED = "moved"
    """It has another parent than when the decision was made: decide again."""
    EXPIRED = "expired"
    GONE = "gone"


@dataclass(frozen=True)
class TagWrite:
    """A write with the tag before and after it; ``after`` is None when SteVe has no such tag any more."""

    result: WriteResult
    before: SteveTag
    after: SteveTag | None


async def set_limit(steve: SteveClient, tag: SteveTag, limit: int) -> TagWrite:
    """Give a tag, decided upon as ``tag``, another limit; everything else stays as SteVe has it now.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the tag may or may not have changed.
    """
    return await _rewrite(steve, tag, lambda now: replace(now, max_active_transaction_count=limit))


async def set_parent(steve: SteveClient, tag: SteveTag, parent_id_tag: str) -> TagWrite:
    """Give a tag that has no parent one; everything else stays as SteVe has it now.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the tag may or may not have changed.
    """
    return await _rewrite(steve, tag, lambda now: replace(now, parent_id_tag=parent_id_tag))


async def _rewrite(steve: SteveClient, decided: SteveTag, change: Callable[[SteveTag], SteveTag]) -> TagWrite:
    before = await tag_by_pk(steve, decided.ocpp_tag_pk)
    if before is None:
        return TagWrite(WriteResult.GONE, decided, None)
    if not _same_parent(before, decided):
        return TagWrite(WriteResult.MOVED, before, before)
    wanted = change(before)
    if wanted == before:
        return TagWrite(WriteResult.UNCHANGED, before, before)
    try:
        after = await _put(steve, wanted)
    except SteveRefused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return TagWrite(WriteResult.GONE, before, None)
        if refusal.status == HTTPStatus.BAD_REQUEST and await is_expired(steve, before.ocpp_tag_pk):
            return TagWrite(WriteResult.EXPIRED, before, before)
        raise
    return TagWrite(WriteResult.WRITTEN, before, _confirmed(wanted, after))


async def _put(steve: SteveClient, wanted: SteveTag) -> SteveTag:
    """Write the tag; what SteVe has afterwards, read again when the answer was lost."""
    try:
        return await replace_tag(steve, wanted)
    except (SteveUnavailable, SteveProtocolError):
        after = await tag_by_pk(steve, wanted.ocpp_tag_pk)
        if after is None:
            raise SteveRefused(HTTPStatus.NOT_FOUND, f"/ocppTags/{wanted.ocpp_tag_pk}") from None
        if after.max_active_transaction_count != wanted.max_active_transaction_count or not _same_parent(after, wanted):
            raise
        return after


def _confirmed(wanted: SteveTag, after: SteveTag) -> SteveTag:
    differs = [each.name for each in fields(SteveTag) if getattr(wanted, each.name) != getattr(after, each.name)]
    if differs:
        log.warning("tag_changed_by_others", id_tag=after.id_tag, fields=differs)
    return after


def _same_parent(one: SteveTag, other: SteveTag) -> bool:
    return (one.parent_id_tag or "").lower() == (other.parent_id_tag or "").lower()
