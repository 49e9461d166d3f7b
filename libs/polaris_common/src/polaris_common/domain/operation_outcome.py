"""What became of a remote operation, read from the answer's values and never from its wording beyond OCPP's own.

HTTP 200 from SteVe says that it asked, not that the charger agreed (steve.md §1.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How an operation ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The charger understood and declined."""
    ERROR = "error"
    """The charger answered with an OCPP error."""
    EXCEPTION = "exception"
    """SteVe failed while it asked the charger."""
    REFUSED = "refused"
    """SteVe did not ask: charger offline, tag not eligible, no such transaction or reservation."""
    UNSUPPORTED = "unsupported"
    """This SteVe has no such operation."""
    UNREACHABLE = "unreachable"
    """SteVe was never reached: the charger was certainly not asked."""
    EXPIRED = "expired"
    """It waited so long that it was not sent any more."""
    TIMEOUT = "timeout"
    """The charger did not answer in time."""
    UNKNOWN = "unknown"
    """The answer was lost on the way to us."""


NOT_SENT = frozenset({Outcome.UNREACHABLE, Outcome.EXPIRED})
"""The charger was certainly not asked, and nothing speaks against asking it later."""

UNCERTAIN = frozenset({Outcome.TIMEOUT, Outcome.UNKNOWN})
"""The charger may have done it. Never sent again."""

_AGREEING = frozenset({"accepted", "scheduled", "rebootrequired", "unlocked"})


@dataclass(frozen=True)
class BoxAnswer:
    """What a task says about one charge box."""

    outcome: Outcome | None
    """None: the charger has not answered (yet)."""
    status: str | None = None
    """The charger's own word: ``Accepted``, ``Occupied``, an OCPP error code."""
    reservation_id: int | None = None
    """The number of the reservation that ReserveNow made, where SteVe says it."""


def read_task(task: dict[str, Any], charge_box_id: str) -> BoxAnswer:
    """What SteVe's task says about ``charge_box_id``, whose case SteVe does not mind."""
    for answer in _of(task.get("errorResponses"), charge_box_id):
        return BoxAnswer(Outcome.ERROR, _word(answer.get("errorCode")))
    for _ in _of(task.get("exceptions"), charge_box_id):
        return BoxAnswer(Outcome.EXCEPTION)
    for answer in _of(task.get("successResponses"), charge_box_id):
        return _answered(answer)
    return BoxAnswer(None)


def _answered(answer: dict[str, Any]) -> BoxAnswer:
    """An answer that is data (a configuration, a version) is an agreement."""
    response = answer.get("response")
    details = response if isinstance(response, dict) else {}
    word = _word(details.get("status") if details else response)
    agreed = word is None or word.lower() in _AGREEING
    number = answer.get("reservationId", details.get("reservationId"))
    return BoxAnswer(
        Outcome.ACCEPTED if agreed else Outcome.REJECTED,
        word,
        number if isinstance(number, int) and not isinstance(number, bool) else None,
    )


def _of(answers: Any, charge_box_id: str) -> Sequence[dict[str, Any]]:
    if not isinstance(answers, list):
        return []
    wanted = charge_box_id.casefold()
    return [one for one in answers if isinstance(one, dict) and str(one.get("chargeBoxId")).casefold() == wanted]


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
