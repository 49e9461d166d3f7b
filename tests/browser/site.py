"""The installation that the browsers visit, and the people who have sign-ins there."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

MAIL_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class SignIn:
    """Somebody's address and password."""

    email: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Site:
    """Where it is, without a slash at the end, and who may sign in."""

    customer: str
    admin: str
    mailbox: str
    operator: SignIn
    drivers: Sequence[SignIn]

    def foreign(self, host: str) -> str:
        """A page on ``host`` that is not ours; the simulated mailbox serves it, which answers to any name."""
        return f"http://{host}:{urlsplit(self.mailbox).port}/mails/0"

    def mailed_link(self, email: str, *, but: str | None = None) -> str:
        """The link in the latest mail to ``email``, other than ``but``, once it has come."""
        deadline = time.monotonic() + MAIL_SECONDS
        while True:
            answer = httpx.get(f"{self.mailbox}/_sim/mails", params={"to": email}, trust_env=False)
            links = [str(re.findall(r"https?://\S+", mail["text"])[0]) for mail in answer.json()["mails"]]
            if links and links[0] != but:
                return links[0]
            assert time.monotonic() < deadline, f"no mail came: {answer.text}"
            time.sleep(POLL_SECONDS)
