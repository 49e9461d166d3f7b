"""What one notifier process is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import Request
from redis.asyncio import Redis

from notifier.mail.service import MailSender
from notifier.mail.writing import MailWriter
from notifier.metrics import count_streams
from notifier.notifications.mails import MailDesk
from notifier.notifications.service import Projector
from notifier.push.apns import Apns
from notifier.push.service import PushSender
from notifier.scan_detect.service import ScanDetect
from notifier.settings import NotifierSettings
from notifier.stream.catch_up import CatchUp
from notifier.stream.heartbeat import Heartbeat
from notifier.stream.hub import StreamHub
from notifier.stream.service import Reads, StreamOpener
from polaris_common.db import Database
from polaris_common.email import mail_transport
from polaris_common.email.letterhead import Letterhead
from polaris_common.events.relay import EventRelay
from polaris_common.http.surfaces import Surfaces
from polaris_common.identity.audit import Audit
from polaris_common.identity.impersonation import Views
from polaris_common.observability.figures import TELLING
from polaris_common.observability.metrics import DatabaseFigures, metrics_server
from polaris_common.process import every

NOTIFICATIONS_SECONDS = 0.5
"""How often the event log is looked at for what people must be told."""
MAIL_SECONDS = 1.0
"""How often the queue of mails is looked at."""
PUSH_SECONDS = 1.0
"""How often the queue of pushes is looked at."""
CLEANUP_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Notifier:
    """The process's connections, its hub and the tasks that keep it fed."""

    def __init__(self, settings: NotifierSettings) -> None:
        self.settings = settings
        self.database = Database(settings, application_name="notifier")
        self._redis = _connect(settings.redis_url)
        self.surfaces = Surfaces(settings)
        self.hub = StreamHub(self.database, self._redis, settings)
        # Reads of single streams leave half of the pool to the hub and the heartbeat.
        turns = asyncio.Semaphore(settings.database_pool_size)
        self.reads = Reads(self.database, turns)
        self.catch_up = CatchUp(self.database, self.hub, turns)
        self.opener = StreamOpener(self.hub, self.reads, max_pending=settings.sse_max_pending_per_client)
        auth_secret = settings.auth_secret.get_secret_value()
        self.scan_detect = ScanDetect(self.database, turns, auth_secret)
        self._audit = Audit(auth_secret)
        self.views = Views(self.database, self._audit)
        self._mail_transport = mail_transport(settings)
        self._apns = Apns(settings)
        self.on_failure: Callable[[], None] = lambda: None
        """Called when a task died of something that waiting does not cure."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the log, relay events and beat while the block runs.

        Raises:
            OSError, SQLAlchemyError: the database cannot be reached or has no event log.
        """
        await self.hub.start()
        count_streams(lambda: len(self.hub))
        heartbeat = Heartbeat(
            self.database,
            self.hub,
            seconds=self.settings.sse_heartbeat_seconds,
            customer_lifetime=self.settings.customer_lifetime,
        )
        relay = EventRelay(self.database, self._redis)
        projector = Projector(
            self.database,
            None if self._mail_transport is None else MailDesk(),
            dashboard=self.settings.lago_dashboard_url,
        )
        tasks = [
            asyncio.create_task(run, name=name)
            for name, run in {
                "event-relay": relay.run(),
                "event-log": self.hub.follow_log(),
                "redis": self.hub.follow_redis(),
                "heartbeat": heartbeat.run(),
                "pairings": self.scan_detect.watch.run(),
                "old-pairings": every(CLEANUP_SECONDS, self.scan_detect.watch.forget_old, name="old-pairings"),
                "notifications": every(NOTIFICATIONS_SECONDS, projector.run, name="notifications"),
                "metrics": metrics_server(self.settings, DatabaseFigures(self.database, TELLING)),
                **self._mail_tasks(),
                **self._push_tasks(),
            }.items()
        ]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            self.stop_streams()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    def stop_streams(self) -> None:
        """End every stream and take no new ones."""
        self.hub.stop()
        self.scan_detect.watch.stop()

    async def close(self) -> None:
        """Close the connections to the Worker, Apple, Redis and the database."""
        if self._mail_transport is not None:
            await self._mail_transport.close()
        await self._apns.close()
        await self._redis.aclose()
        await self.database.close()

    def _mail_tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Nothing where no mail can be sent."""
        if self._mail_transport is None:
            return {}
        writer = MailWriter(Letterhead.of(self.settings, self.settings), self._audit)
        sender = MailSender(self.database, self._mail_transport, writer)
        return {
            "mail": every(MAIL_SECONDS, sender.send_due, name="mail"),
            "mail-cleanup": every(CLEANUP_SECONDS, sender.forget_old, name="mail-cleanup"),
        }

    def _push_tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Also where nothing can be pushed: then each push is written off, with the reason."""
        sender = PushSender(self.database, self._apns)
        return {
            "push": every(PUSH_SECONDS, sender.send_due, name="push"),
            "push-cleanup": every(CLEANUP_SECONDS, sender.forget_old, name="push-cleanup"),
        }

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("task_failed", task=task.get_name(), exc_info=error)
            self.on_failure()


def notifier_of(request: Request) -> Notifier:
    """The notifier that serves this request."""
    notifier: Notifier = request.app.state.notifier
    return notifier


def _connect(url: str) -> Redis:
    over_network = not url.startswith("unix://")
    options: dict[str, Any] = {"socket_keepalive": True} if over_network else {}
    client: Redis = Redis.from_url(url, socket_connect_timeout=2, **options)
    return client
