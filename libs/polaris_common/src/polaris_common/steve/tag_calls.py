"""SteVe's calls on single tags. Writes are never repeated blindly: whoever lost an answer looks what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from polaris_common.clock import to_wire
from polaris_common.domain.meta_tag import fitting
from polaris_common.steve.client import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable
from polaris_common.steve.wire import SteveTag


@dataclass(frozen=True)
class NewTag:
    """A tag to create."""

    id_tag: str
    max_active_transaction_count: int
    parent_id_tag: str | None = None
    note: str | None = None


async def tag_by_pk(steve: SteveClient, ocpp_tag_pk: int) -> SteveTag | None:
    """The tag as it is now, or None when SteVe says that there is none.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: nothing is known; true of all calls here.
    """
    try:
        return _tag(await steve.read(f"/ocppTags/{ocpp_tag_pk}"))
    except SteveRefused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise


async def tag_by_id(steve: SteveClient, id_tag: str) -> SteveTag | None:
    """The tag with this idTag in whatever case, or None when there is none."""
    found = [tag for tag in _tags(await steve.read("/ocppTags", {"idTag": id_tag})) if _same(tag.id_tag, id_tag)]
    return found[0] if found else None


async def expired_tag_pks(steve: SteveClient) -> frozenset[int]:
    """The tags that SteVe, by its own clock, refuses as expired."""
    return frozenset(tag.ocpp_tag_pk for tag in _tags(await steve.read("/ocppTags", {"expired": "TRUE"})))


async def is_expired(steve: SteveClient, ocpp_tag_pk: int) -> bool:
    """Whether SteVe, by its own clock, refuses this tag as expired."""
    return bool(_tags(await steve.read("/ocppTags", {"ocppTagPk": str(ocpp_tag_pk), "expired": "TRUE"})))


async def replace_tag(steve: SteveClient, tag: SteveTag) -> SteveTag:
    """Write every field of ``tag`` (a PUT clears or resets what it leaves out); the tag as SteVe has it afterwards.

    Raises:
        SteveRefused: 400 also when the expiry date has passed; 404 when the tag is gone.
    """
    body = {
        "idTag": tag.id_tag,
        "parentIdTag": tag.parent_id_tag,
        "expiryDate": None if tag.expiry_date is None else to_wire(tag.expiry_date),
        "maxActiveTransactionCount": tag.max_active_transaction_count,
        "note": tag.note,
    }
    return _tag(await steve.write("PUT", f"/ocppTags/{tag.ocpp_tag_pk}", body))


async def create_tag(steve: SteveClient, new: NewTag) -> tuple[SteveTag, bool]:
    """Create a tag, or find the one that has this idTag already; the tag, and whether we created it.

    When the answer is lost, the tag is looked up instead of being sent again; it then counts as created.

    Raises:
        UnusableIdTag: before anything is sent.
        SteveRefused: 422 when there is no such tag after all: the parent does not exist.
    """
    body: Mapping[str, Any] = {
        "idTag": fitting(new.id_tag),
        "parentIdTag": new.parent_id_tag,
        "maxActiveTransactionCount": new.max_active_transaction_count,
        "note": new.note,
    }
    try:
        return _tag(await steve.write("POST", "/ocppTags", body)), True
    except SteveRefused as refusal:
        if refusal.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        problem: Exception = refusal
    except SteveUnavailable as lost:
        problem = lost
    existing = await tag_by_id(steve, new.id_tag)
    if existing is None:
        raise problem
    return existing, isinstance(problem, SteveUnavailable)


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def _tags(body: Any) -> list[SteveTag]:
    if not isinstance(body, list):
        raise SteveProtocolError("SteVe answered something else than a list of tags")
    return [_tag(raw) for raw in body]


def _tag(raw: Any) -> SteveTag:
    try:
        return SteveTag.read(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SteveProtocolError(f"SteVe answered a tag we cannot read ({type(error).__name__})") from error
