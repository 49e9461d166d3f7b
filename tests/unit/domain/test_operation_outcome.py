"""What SteVe's answer says about a charger."""

from typing import Any

import pytest

from polaris_common.charging.operations import Ended
from polaris_common.domain.operation_outcome import BoxAnswer, Outcome, read_task


def _task(response: Any, **more: Any) -> dict[str, Any]:
    return {
        "taskId": 1,
        "taskFinished": True,
        "successResponses": [{"chargeBoxId": "CP-1", "response": response}],
        **more,
    }


@pytest.mark.parametrize(
    "response",
    [
        "Accepted",
        "ACCEPTED",
        "Scheduled",
        "RebootRequired",
        "Unlocked",
        {"status": "Accepted"},
        {"fileName": "a"},
        3,
        None,
    ],
)
def test_what_the_charger_agrees_to_is_accepted(response: Any) -> None:
    assert read_task(_task(response), "CP-1").outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "response", ["Rejected", "Occupied", "Faulted", "UnlockFailed", "NotSupported", {"status": "Rejected"}]
)
def test_every_other_word_is_a_rejection(response: Any) -> None:
    assert read_task(_task(response), "CP-1").outcome is Outcome.REJECTED


def test_an_error_outweighs_everything_and_keeps_its_code() -> None:
    errors = [{"chargeBoxId": "CP-1", "errorCode": "NotImplemented"}]
    assert read_task(_task("Accepted", errorResponses=errors), "CP-1") == BoxAnswer(Outcome.ERROR, "NotImplemented")


def test_another_chargers_answer_says_nothing() -> None:
    assert read_task(_task("Accepted"), "CP-2") == BoxAnswer(None)


def test_the_case_of_the_chargers_name_does_not_matter() -> None:
    assert read_task(_task("Accepted"), "cp-1").outcome is Outcome.ACCEPTED


def test_a_tasks_number_is_no_reservations_number() -> None:
    assert read_task(_task("Accepted"), "CP-1").reservation_id is None


@pytest.mark.parametrize(
    "answer",
    [
        {"chargeBoxId": "CP-1", "response": "Accepted", "reservationId": 9},
        {"chargeBoxId": "CP-1", "response": {"status": "Accepted", "reservationId": 9}},
    ],
)
def test_a_reservations_number_is_read_where_steve_says_it(answer: dict[str, Any]) -> None:
    assert read_task({"successResponses": [answer]}, "CP-1") == BoxAnswer(Outcome.ACCEPTED, "Accepted", 9)


@pytest.mark.parametrize("task", [{}, {"successResponses": None}, {"successResponses": ["CP-1"]}, {"exceptions": 1}])
def test_a_broken_answer_is_no_answer(task: dict[str, Any]) -> None:
    assert read_task(task, "CP-1").outcome is None


def test_only_an_agreement_is_completed_and_what_nobody_knows_is_not_a_failure() -> None:
    assert Ended(Outcome.ACCEPTED).status == "completed"
    assert {Ended(outcome).status for outcome in (Outcome.TIMEOUT, Outcome.UNKNOWN)} == {"timeout"}
    rest = set(Outcome) - {Outcome.ACCEPTED, Outcome.TIMEOUT, Outcome.UNKNOWN}
    assert {Ended(outcome).status for outcome in rest} == {"failed"}
