"""Bringing the mirror to what SteVe has. A tag is gone only when SteVe says so of that tag."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import structlog

from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.tag_owner import MAX_DEPTH
from polaris_common.steve import SteveClient, SteveTag
from polaris_common.steve.tag_calls import tag_by_id, tag_by_pk
from sync_worker.tags.repository import OcppTagRepository, TagChangeRepository

log = structlog.get_logger(__name__)

SEEN_IN_STEVE = "seen_in_steve"
PROBES = 25
"""Of many tags that a list lacks, so many are asked for one by one."""

FEW_TAGS = 10
"""Up to so many tags are read one by one; more cost less as one list."""


@dataclass(frozen=True)
class Mirrored:
    """SteVe's tags as just read; keys in lower case."""

    tags: dict[str, SteveTag]
    new: int
    complete: bool
    """False: the list lacks tags that SteVe still has."""


async def refresh_mirror(database: Database, steve: SteveClient, *, run_id: int | None = None) -> Mirrored:
    """Bring the mirror to SteVe's list and log what others have changed there.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the mirror stays as it is.
    """
    listed = await steve.tags()
    async with database.unit_of_work() as uow:
        known = await OcppTagRepository(uow).by_pk()
    missing = known.keys() - {tag.ocpp_tag_pk for tag in listed}
    complete = await _all_gone(steve, missing)
    if not complete:
        log.warning("tag_list_incomplete", listed=len(listed), missing=len(missing))
    async with database.unit_of_work() as uow:
        if missing and complete:
            await OcppTagRepository(uow).gone(missing)
        new = await _store(uow, listed, known, run_id=run_id)
    return Mirrored({tag.id_tag.lower(): tag for tag in listed}, new, complete)


async def read_tags(database: Database, steve: SteveClient, names: Collection[str]) -> dict[str, SteveTag]:
    """The tags of these idTags as SteVe has them now, those it has; their ancestors are brought into the mirror.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: nothing has changed.
    """
    if len(names) > FEW_TAGS:
        tags = (await refresh_mirror(database, steve)).tags
        return {name: tags[name] for name in names if name in tags}
    found: dict[str, SteveTag] = {}
    wanted = set(names)
    for _ in range(MAX_DEPTH):
        tags = {name: tag for name in sorted(wanted) if (tag := await tag_by_id(steve, name)) is not None}
        found |= tags
        parents = {tag.parent_id_tag.lower() for tag in tags.values() if tag.parent_id_tag} - found.keys()
        if not parents:
            break
        async with database.unit_of_work() as uow:
            wanted = parents - (await OcppTagRepository(uow).related(parents)).keys()
    async with database.unit_of_work() as uow:
        known = await OcppTagRepository(uow).related(found)
        await _store(uow, found.values(), {tag.ocpp_tag_pk: tag for tag in known.values()})
    return {name: tag for name, tag in found.items() if name in names}


async def _store(
    uow: UnitOfWork, tags: Iterable[SteveTag], known: dict[int, SteveTag], *, run_id: int | None = None
) -> int:
    """Store what differs from ``known`` and log it; the number of new tags."""
    differing = [(known.get(tag.ocpp_tag_pk), tag) for tag in tags if known.get(tag.ocpp_tag_pk) != tag]
    await OcppTagRepository(uow).store([tag for _, tag in differing])
    # A first look at SteVe shows tags, not changes.
    changes = [(before, tag) for before, tag in differing if known]
    await TagChangeRepository(uow).add(changes, reason=SEEN_IN_STEVE, run_id=run_id)
    return sum(before is None for before, _ in differing)


async def _all_gone(steve: SteveClient, pks: Collection[int]) -> bool:
    ordered = sorted(pks)
    step = max(1, len(ordered) // PROBES)
    for pk in ordered[::step][:PROBES]:
        if await tag_by_pk(steve, pk) is not None:
            return False
    return True
