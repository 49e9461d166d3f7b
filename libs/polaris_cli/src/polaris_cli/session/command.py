"""``polaris session explain`` and ``polaris session release``."""

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from polaris_cli.database import actor, in_unit_of_work
from polaris_cli.problems import BadInput
from polaris_common.books.explain import explain_session
from polaris_common.charging.session_release import release_session
from polaris_common.energy import kwh_text


def explain(session_id: int) -> int:
    """Print everything behind one session's bill as JSON.

    Raises:
        BadInput: there is no such session.
    """
    found = asyncio.run(in_unit_of_work(lambda uow: explain_session(uow, session_id)))
    if found is None:
        raise BadInput(f"There is no session {session_id}.")
    sys.stdout.write(f"{json.dumps(found, indent=2, ensure_ascii=False)}\n")
    return 0


@dataclass(frozen=True)
class Stop:
    """How a released session ended, as the options say it."""

    wh: int | None
    as_measured: bool
    at: str | None

    def moment(self) -> datetime | None:
        """When it ended.

        Raises:
            BadInput: that is no time with a zone.
        """
        if self.at is None:
            return None
        try:
            at = datetime.fromisoformat(self.at)
        except ValueError:
            raise BadInput(f"{self.at} is no time, such as 2026-03-01T12:00:00Z.") from None
        if at.tzinfo is None:
            raise BadInput(f"{self.at} does not say its time zone; with Z at the end it is UTC.")
        return at.astimezone(UTC)


def release(session_id: int, stop: Stop, reason: str) -> int:
    """Settle a session that was set aside; billing takes it from there.

    Raises:
        BadInput: it is not said how the session ended, or twice.
        Refused: the session is not set aside, or its energy remains doubtful.
    """
    if stop.as_measured == (stop.wh is not None):
        raise BadInput("Say either --stop-wh or --as-measured.")
    at = stop.moment()
    settled = asyncio.run(
        in_unit_of_work(
            lambda uow: release_session(uow, session_id, stop_wh=stop.wh, stopped_at=at, reason=reason, actor=actor())
        )
    )
    energy = (settled.stop_wh or 0) - (settled.start_wh or 0)
    sys.stdout.write(f"Session {session_id} is settled with {kwh_text(energy)} kWh and will be billed.\n")
    return 0
