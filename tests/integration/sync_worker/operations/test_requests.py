"""Asking for an operation, sending it at most once, and dying meanwhile."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import ValidationError
from tests.support.site import CARD
from tests.support.worker_processes import served, until, workers
from tests.support.yard import BOX, Yard

from polaris_common.charging.chargers import ChargerNotFound
from polaris_common.charging.operations import OperationKeyReused
from polaris_common.domain.operations import OperationNotAllowed
from sync_worker.operations.service import RemoteOperations

START = {"idTag": CARD, "connectorId": 1}


async def test_the_same_request_twice_is_one_operation(yard: Yard) -> None:
    first = await yard.request("RemoteStartTransaction", START, key="k")
    assert await yard.request("RemoteStartTransaction", START, key="k") == first
    await yard.operations.run_due()
    assert await yard.request("RemoteStartTransaction", START, key="k") == first
    await yard.operations.run_due()
    assert yard.sent("RemoteStartTransaction") == 1


async def test_a_key_stands_for_one_operation_only(yard: Yard) -> None:
    await yard.request("RemoteStartTransaction", START, key="k")
    with pytest.raises(OperationKeyReused):
        await yard.request("RemoteStartTransaction", {**START, "connectorId": 2}, key="k")


async def test_a_dry_run_is_logged_and_never_sent(yard: Yard) -> None:
    row = await yard.operate("RemoteStartTransaction", START, dry_run=True)
    assert (row.status, row.outcome, yard.sent("RemoteStartTransaction")) == ("dry_run", None, 0)


async def test_nothing_is_asked_of_a_charger_that_does_not_exist_and_none_appears(yard: Yard) -> None:
    with pytest.raises(ChargerNotFound):
        await yard.request("UnlockConnector", {"connectorId": 1}, box="TYPO")
    assert await yard.log() == []
    assert [row.charge_box_id for row in await yard.site.rows("SELECT charge_box_id FROM chargers")] == [BOX]


@pytest.mark.parametrize("operation", ["Reset", "ClearCache", "UpdateFirmware", "SendLocalList", "Nonsense"])
async def test_what_can_ruin_a_charger_is_not_on_the_list(yard: Yard, operation: str) -> None:
    with pytest.raises(OperationNotAllowed):
        await yard.request(operation)


async def test_wrong_parameters_are_refused_before_anything_is_written(yard: Yard) -> None:
    with pytest.raises(ValidationError):
        await yard.request("UnlockConnector", {"connectorId": 0})
    assert await yard.log() == []


async def test_what_nobody_expects_any_more_is_not_sent(yard: Yard) -> None:
    row = await yard.operate("UnlockConnector", {"connectorId": 1}, wanted_for=timedelta(seconds=-1))
    assert (row.status, row.outcome, yard.sent("UnlockConnector")) == ("failed", "expired", 0)


async def test_a_charger_is_asked_one_thing_at_a_time_in_order_while_others_are_not_kept_waiting(yard: Yard) -> None:
    await yard.charger("CP-2")
    heard: list[str] = []
    other_heard = asyncio.Event()

    async def listen(path: str) -> None:
        if not path.startswith("/operations"):
            return
        if path.endswith("UnlockConnector"):
            await asyncio.wait_for(other_heard.wait(), 10)
        elif path.endswith("TriggerMessage"):
            other_heard.set()
        heard.append(path.removeprefix("/operations/"))

    yard.site.requests.before = listen
    await yard.request("UnlockConnector", {"connectorId": 1})
    await yard.request("GetConfiguration")
    await yard.request("GetLocalListVersion", box="CP-2")
    await yard.request("TriggerMessage", {"triggerMessage": "Heartbeat"}, box="CP-2")
    await yard.operations.run_due()
    assert heard == ["GetLocalListVersion", "TriggerMessage", "UnlockConnector", "GetConfiguration"]
    assert await yard.log() == [("completed", "accepted")] * 4


async def test_only_one_worker_sends(yard: Yard) -> None:
    other = RemoteOperations(yard.site.database, yard.site.client, yard.site.transactions.capabilities)
    answers: list[bool] = []

    async def listen(path: str) -> None:
        if path.startswith("/operations"):
            answers.append(await other.run_due())

    yard.site.requests.before = listen
    await yard.request("RemoteStartTransaction", START)
    assert await yard.operations.run_due()
    assert (answers, yard.sent("RemoteStartTransaction")) == ([False], 1)


async def test_an_operation_that_a_killed_worker_was_sending_stays_unknown_and_is_not_sent_again(
    yard: Yard, database_url: str, redis_url: str
) -> None:
    reached, for_ever = asyncio.Event(), asyncio.Event()

    async def stall(path: str) -> None:
        if path.startswith("/operations/Remote"):
            reached.set()
            await for_ever.wait()

    async def is_unknown() -> bool:
        return await yard.log() == [("timeout", "unknown")]

    yard.site.requests.before = stall
    async with served(yard.site.requests) as steve:
        environment = {"database_url": database_url, "redis_url": redis_url, "steve": steve}
        async with workers(1, **environment) as (first,):
            await yard.request("RemoteStartTransaction", START)
            await yard.site.jobs.operations()
            await asyncio.wait_for(reached.wait(), 20)
            assert await yard.log() == [("sending", None)]
            first.kill()
            await first.stop()
        async with workers(1, **environment):
            await until(is_unknown)
        for_ever.set()
    assert yard.sent("RemoteStartTransaction") == 1
    assert len(await yard.events("operation.completed")) == 1
