"""The record of what people decide about money."""

from typing import Any

from polaris_common.db import UnitOfWork
from polaris_common.http.errors import ApiError
from polaris_common.models import OperatorAction


class ReasonMissing(ApiError):
    """Nobody acts on money without saying why."""

    status, code, message = 422, "reason_missing", "Say why."


def note_action(
    uow: UnitOfWork, action: str, subject: str, *, actor: str, reason: str, details: dict[str, Any] | None = None
) -> None:
    """Record who did what, and why, in the unit of work that does it.

    Raises:
        ReasonMissing: there is no reason.
    """
    if not reason.strip():
        raise ReasonMissing
    uow.session.add(
        OperatorAction(action=action, subject=subject, actor=actor, reason=reason.strip(), details=details or {})
    )
