"""What the log says became of a remote operation."""

from typing import Any

import httpx
import pytest
from tests.support.site import CARD
from tests.support.yard import BOX, Yard, build_yard

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.faults import Fault
from polaris_sim.steve import Profile

START = {"idTag": CARD, "connectorId": 1}


async def test_an_accepted_operation_is_completed_with_steves_answer_and_operators_hear_of_it(yard: Yard) -> None:
    row = await yard.operate("RemoteStartTransaction", START)
    assert (row.status, row.outcome, row.task_id) == ("completed", "accepted", 1)
    assert row.result["successResponses"] == [{"chargeBoxId": BOX, "response": "Accepted"}]
    (event,) = await yard.events("operation.completed")
    assert (event["operationLogId"], event["outcome"], event["chargeBoxId"]) == (row.id, "accepted", BOX)


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ({"responses": {"UnlockConnector": "UnlockFailed"}}, "rejected"),
        ({"responses": {"UnlockConnector": "NotSupported"}}, "rejected"),
        ({"errors": {"UnlockConnector": "InternalError"}}, "error"),
        ({"exceptions": {"UnlockConnector": "connection lost"}}, "exception"),
    ],
)
async def test_an_answer_of_http_200_is_no_success_when_the_charger_did_not_do_it(
    yard: Yard, behaviour: dict[str, Any], outcome: str
) -> None:
    await yard.charger(**behaviour)
    row = await yard.operate("UnlockConnector", {"connectorId": 1})
    assert (row.status, row.outcome) == ("failed", outcome)


async def test_what_steve_refuses_is_a_refusal_with_steves_sentence(yard: Yard) -> None:
    row = await yard.operate("RemoteStopTransaction", {"transactionId": 77})
    assert (row.status, row.outcome) == ("failed", "refused")
    assert "not active" in row.result["message"]


async def test_a_configuration_that_a_charger_sends_is_an_agreement(yard: Yard) -> None:
    row = await yard.operate("GetConfiguration")
    assert (row.status, row.outcome) == ("completed", "accepted")


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.ERROR_AFTER, Fault.TRUNCATED, Fault.HTML_502])
async def test_a_lost_answer_leaves_the_outcome_unknown_and_the_charger_is_asked_once(yard: Yard, fault: Fault) -> None:
    yard.fault(fault, "RemoteStartTransaction", times=1)
    row = await yard.operate("RemoteStartTransaction", START)
    assert (row.status, row.outcome) == ("timeout", "unknown")
    for _ in range(3):
        await yard.operations.run_due()
    assert yard.sent("RemoteStartTransaction") == 1


async def test_an_operation_that_never_reached_steve_is_known_not_to_have_happened(yard: Yard) -> None:
    async def nobody_listens(path: str) -> None:
        if path.startswith("/operations"):
            raise httpx.ConnectError("refused")

    yard.site.requests.before = nobody_listens
    row = await yard.operate("RemoteStartTransaction", START)
    assert (row.status, row.outcome) == ("failed", "unreachable")


async def test_a_charger_that_stays_silent_times_out(database: Database, redis_settings: RedisSettings) -> None:
    async with build_yard(database, redis_settings, Profile.HEAD, operation_timeout_seconds=0.01) as yard:
        await yard.charger(answer_delay_seconds=0.05)
        row = await yard.operate("UnlockConnector", {"connectorId": 1})
        assert (row.status, row.outcome) == ("timeout", "timeout")
        await yard.site.steve.settled()


async def test_the_fork_is_asked_again_what_became_of_an_unfinished_task(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_yard(database, redis_settings, operation_timeout_seconds=0.01) as yard:
        await yard.charger(answer_delay_seconds=0.05)
        row_id = await yard.request("UnlockConnector", {"connectorId": 1})
        await yard.operations.run_due()
        assert (await yard.log_row(row_id)).status == "submitted"
        await yard.site.steve.settled()
        task = yard.site.steve.tasks.get(1)
        assert task is not None
        task.finished, task.success = True, [{"chargeBoxId": BOX.lower(), "response": "UnlockFailed"}]
        await yard.operations.run_due()
        row = await yard.log_row(row_id)
        assert (row.status, row.outcome) == ("failed", "rejected")


async def test_a_task_that_steve_has_forgotten_is_a_timeout(database: Database, redis_settings: RedisSettings) -> None:
    async with build_yard(database, redis_settings, operation_timeout_seconds=0.01) as yard:
        await yard.charger(answer_delay_seconds=0.05)
        row_id = await yard.request("UnlockConnector", {"connectorId": 1})
        await yard.operations.run_due()
        await yard.site.steve.settled()
        yard.site.steve.restart()
        await yard.operations.run_due()
        assert (await yard.log_row(row_id)).outcome == "timeout"


async def test_a_steve_without_operations_is_not_asked(database: Database, redis_settings: RedisSettings) -> None:
    async with build_yard(database, redis_settings, Profile.V3_8) as yard:
        row = await yard.operate("RemoteStartTransaction", START)
        assert (row.status, row.outcome, yard.sent("RemoteStartTransaction")) == ("failed", "unsupported", 0)


async def test_asking_for_a_status_invents_no_status(yard: Yard) -> None:
    before = await yard.site.rows("SELECT * FROM charger_connectors")
    row = await yard.operate("TriggerMessage", {"triggerMessage": "StatusNotification", "connectorId": 1})
    assert row.outcome == "accepted"
    assert await yard.site.rows("SELECT * FROM charger_connectors") == before
