"""Mirroring SteVe's tags: the hierarchy decides who pays for a tag without a mapping of its own."""

from polaris_common.db import Database
from polaris_common.steve import SteveClient
from sync_worker.tags.repository import OcppTagRepository


async def mirror_tags(database: Database, steve: SteveClient) -> int:
    """Bring the mirror to SteVe's complete list; the number of tags.

    Raises:
        SteveUnavailable, SteveProtocolError, SteveRefused: the mirror stays as it is.
    """
    tags = await steve.tags()
    async with database.unit_of_work() as uow:
        await OcppTagRepository(uow).replace(tags)
    return len(tags)
