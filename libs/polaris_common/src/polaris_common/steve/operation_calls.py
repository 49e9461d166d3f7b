"""Asking a charger to do something. Sent once: whoever lost the answer never knows, and never asks again."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from polaris_common.steve.client import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable

ANSWER_SECONDS = 45.0
"""SteVe itself waits up to 30 s for the charger; we wait longer, or every slow charger would be an unknown outcome."""


class SteveNotReached(Exception):
    """The request certainly did not get to SteVe."""


async def operate(steve: SteveClient, operation: str, charge_box_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one charge box; SteVe's task as it is then.

    Raises:
        SteveNotReached: nothing has happened.
        SteveRefused: SteVe did not ask the charger; 404: it has no such operation.
        SteveUnavailable, SteveProtocolError: it may have happened or not.
    """
    body = {**params, "chargeBoxIdList": [charge_box_id]}
    try:
        task = await steve.write("POST", f"/operations/{operation}", body, read_seconds=ANSWER_SECONDS)
    except SteveUnavailable as lost:
        if isinstance(lost.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            raise SteveNotReached(str(lost)) from lost
        raise
    return _task(task)


async def task(steve: SteveClient, task_id: int) -> dict[str, Any] | None:
    """A task as it is now, or None when SteVe no longer knows it (the fork only; lost when SteVe restarts)."""
    try:
        return _task(await steve.read(f"/operations/tasks/{task_id}"))
    except SteveRefused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def task_id_of(answer: Mapping[str, Any]) -> int | None:
    """SteVe's number of a task; some versions write it as text."""
    try:
        return int(answer["taskId"])
    except (KeyError, TypeError, ValueError):
        return None


def is_finished(answer: Mapping[str, Any]) -> bool:
    """SteVe waits for no further answer."""
    return answer.get("taskFinished") is not False


def _task(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise SteveProtocolError("SteVe answered something else than a task")
    return body
