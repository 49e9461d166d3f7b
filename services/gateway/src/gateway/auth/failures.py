"""Wrong passwords in a row make the next try wait: five seconds, fifteen, up to a quarter of an hour.

Counted by address, whether anybody has it or not, and before the password is looked at: tries at the same time are
counted one after the other, so trying in parallel gains nothing. The right password starts the count again.
"""

import math

from sqlalchemy import text

from polaris_common.db import UnitOfWork
from polaris_common.identity.keys import KeyUse, derive_key, keyed_hash

FREE_TRIES = 4
FIRST_PAUSE_SECONDS = 5
GROWTH = 3
LONGEST_PAUSE_SECONDS = 900
FORGOTTEN_AFTER_HOURS = 24

_COUNT = text("""
INSERT INTO sign_in_failures AS f (subject_hash, failures) VALUES (:subject, 1)
ON CONFLICT (subject_hash) DO UPDATE SET
    failures = CASE WHEN f.updated_at < now() - make_interval(hours => :hours) THEN 1 ELSE f.failures + 1 END,
    blocked_until = CASE WHEN f.updated_at >= now() - make_interval(hours => :hours) AND f.failures >= :free
        THEN now() + make_interval(secs => least(:longest, :first * power(:growth, least(f.failures - :free, 20)))) END,
    updated_at = now()
WHERE f.blocked_until IS NULL OR f.blocked_until <= now()
RETURNING failures
""")
_WAIT = text("SELECT extract(epoch FROM blocked_until - now()) FROM sign_in_failures WHERE subject_hash = :subject")
_FORGET = text("DELETE FROM sign_in_failures WHERE subject_hash = :subject")


class Failures:
    """Counts tries."""

    def __init__(self, auth_secret: str) -> None:
        self._key = derive_key(auth_secret, KeyUse.SIGN_IN_SUBJECT)

    async def count(self, uow: UnitOfWork, email: str) -> int:
        """Count one try for ``email``; 0 when it may go on, else the seconds to wait."""
        subject = self._subject(email)
        values = {
            "subject": subject,
            "free": FREE_TRIES,
            "first": FIRST_PAUSE_SECONDS,
            "growth": GROWTH,
            "longest": LONGEST_PAUSE_SECONDS,
            "hours": FORGOTTEN_AFTER_HOURS,
        }
        if (await uow.execute(_COUNT, values)).first() is not None:
            return 0
        seconds = (await uow.execute(_WAIT, {"subject": subject})).scalar_one_or_none()
        return max(1, math.ceil(seconds or 0))

    async def forget(self, uow: UnitOfWork, email: str) -> None:
        """Start again for ``email``."""
        await uow.execute(_FORGET, {"subject": self._subject(email)})

    def _subject(self, email: str) -> bytes:
        return keyed_hash(self._key, email.strip().lower())
