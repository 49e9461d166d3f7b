"""Webhooks that went through are forgotten after 90 days; what a person may still want to know of stays."""

import pytest
from tests.integration.lago.conftest import Town

from polaris_common.lago.inbox import InboxRepository, WebhookNotFound, delete_old

_INSERT = """
INSERT INTO lago_webhook_events (unique_key, body_sha256, webhook_type, payload, status, processed_at, received_at,
                                 replayed_from_id)
SELECT :name, '', 'plan.updated', '{}', :status,
       CASE WHEN :status = 'processed' THEN now() - make_interval(days => :age) END,
       now() - make_interval(days => :age),
       (SELECT id FROM lago_webhook_events WHERE unique_key = :of)
"""


async def _stored(town: Town, name: str, status: str = "processed", *, age: int = 91, of: str | None = None) -> None:
    await town.execute(_INSERT, name=name, status=status, age=age, of=of)


async def _left_after_cleaning(town: Town) -> set[str]:
    async with town.database.unit_of_work() as uow:
        await delete_old(uow)
    return {row.unique_key for row in await town.rows("SELECT unique_key FROM lago_webhook_events")}


async def test_what_went_through_long_ago_goes_and_what_is_dead_or_waits_stays(town: Town) -> None:
    await _stored(town, "old")
    await _stored(town, "recent", age=89)
    await _stored(town, "dead", "dead")
    await _stored(town, "waits", "pending")
    assert await _left_after_cleaning(town) == {"recent", "dead", "waits"}


async def test_a_dead_webhook_that_a_replay_has_settled_stays_settled(town: Town) -> None:
    await _stored(town, "dead", "dead")
    await _stored(town, "its replay", of="dead")
    await _stored(town, "went through")
    await _stored(town, "a dead replay of that", "dead", of="went through")
    await _stored(town, "another one", of="went through")
    assert len(await _left_after_cleaning(town)) == 5
    async with town.database.unit_of_work() as uow:
        assert (await InboxRepository(uow).trouble()).dead == 0


async def test_a_webhook_goes_with_its_replays(town: Town) -> None:
    await _stored(town, "went through")
    await _stored(town, "again", of="went through")
    assert await _left_after_cleaning(town) == set()


async def test_a_replay_of_what_was_deleted_says_so(town: Town) -> None:
    await _stored(town, "old")
    inbox_id = (await town.row("SELECT id FROM lago_webhook_events")).id
    await _left_after_cleaning(town)
    with pytest.raises(WebhookNotFound, match=r"no such webhook .* kept for 90 days"):
        await town.inbox.replay(inbox_id)
