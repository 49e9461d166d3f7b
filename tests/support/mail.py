"""Mail as people get it: what is queued goes through the notifier's sender to a simulated Worker."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx

from notifier.mail.service import MailSender
from notifier.mail.writing import MailWriter
from polaris_common.db import Database
from polaris_common.email.letterhead import Letterhead
from polaris_common.email.templates import Hosts
from polaris_common.email.worker import EmailWorker
from polaris_common.identity.audit import Audit
from polaris_sim.email_worker import EmailWorkerConfig, EmailWorkerSimulator, Mail, create_app

SECRET = "email-worker-secret-of-32-characters"
WORKER_URL = "http://worker.test"
HOSTS = Hosts(drivers="https://polaris.test", operators="https://manage.polaris.test")


class Mailbox:
    """A Worker, and the sender that brings it what is due."""

    def __init__(self, database: Database, auth_secret: str) -> None:
        self.simulator = EmailWorkerSimulator(EmailWorkerConfig(secret_a=SECRET))
        transport = httpx.ASGITransport(create_app(self.simulator))
        letterhead = Letterhead(
            "Polaris <noreply@polaris.test>", "Polaris <admin-noreply@polaris.test>", reply_to=None, hosts=HOSTS
        )
        self.worker = EmailWorker(WORKER_URL, SECRET, clock=self.simulator.config.clock, transport=transport)
        self.sender = MailSender(database, self.worker, MailWriter(letterhead, Audit(auth_secret)))

    async def mails(self) -> list[Mail]:
        """Everything that has arrived, after what is due was sent."""
        await self.sender.send_due()
        return self.simulator.mails

    async def link(self) -> str:
        """The link in the latest mail."""
        latest = (await self.mails())[-1]
        found = re.search(r"https?://\S+", latest.text)
        assert found is not None
        return found[0]

    async def token(self) -> str:
        """The token of the link in the latest mail."""
        return parse_qs(urlsplit(await self.link()).query)["token"][0]

    async def close(self) -> None:
        """Close the connections."""
        await self.worker.close()


def mail_environment() -> Iterator[tuple[str, str]]:
    """What makes a service believe that mail is sent."""
    yield "CF_EMAIL_WORKER_URL", WORKER_URL
    yield "CF_EMAIL_WORKER_SECRET", SECRET
