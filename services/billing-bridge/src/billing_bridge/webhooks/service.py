"""Working off the inbox: each webhook on its own, again with back-off while it fails, once it went through never again.

A webhook is a hint. What it is about is read from Lago first, so webhooks may come late, twice or in any order; what
follows is decided from the mirror and commits together with "processed". Nothing is ever skipped: while Lago or a
reaction fails, webhooks wait, and operators see it.
"""

import time

import structlog
from sqlalchemy import select

from billing_bridge.mirror.service import Mirror
from billing_bridge.safety.service import SafetyGate
from billing_bridge.webhooks.reactions import WebhookUnusable, react
from billing_bridge.webhooks.refetch import refetch
from billing_bridge.webhooks.repository import Claimed, WebhookRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.http.transport import backoff_seconds
from polaris_common.lago import LagoRefused, LagoUnavailable
from polaris_common.lago.inbox import InboxRepository
from polaris_common.models import LagoWebhookEvent
from polaris_common.observability.health import Component, read, report
from polaris_common.side_by_side import side_by_side

log = structlog.get_logger(__name__)

BATCH = 8
"""Webhooks worked on side by side."""
MAX_ATTEMPTS = 8
FIRST_BACKOFF_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 900.0
LAGO_AWAY_SECONDS = 15.0
FAILING_AFTER = 5
"""Failed attempts of waiting webhooks that operators are told about."""
HEALTH_SECONDS = 30.0


class WebhookInbox:
    """The one that works off the inbox; any number may run side by side."""

    def __init__(self, database: Database, mirror: Mirror, gate: SafetyGate) -> None:
        self._database, self._mirror, self._gate = database, mirror, gate
        self._said_at = 0.0

    async def process_due(self) -> None:
        """Work on all that is due, or until Lago is found to be away; then say how it goes."""
        worked = False
        while True:
            async with self._database.unit_of_work() as uow:
                claimed = await WebhookRepository(uow).claim(BATCH)
            if not claimed:
                break
            worked = True
            away = await side_by_side(*(self._process(event) for event in claimed))
            if any(away):
                break
        if worked or time.monotonic() - self._said_at > HEALTH_SECONDS:
            await self._say_how_it_goes()

    async def replay(self, inbox_id: int) -> int:
        """Work through a copy of a stored webhook now, whatever became of the original; the copy's id.

        Raises:
            WebhookNotFound: there is none with that id, or it is no longer kept.
        """
        async with self._database.unit_of_work() as uow:
            copy = await InboxRepository(uow).clone(inbox_id)
        async with self._database.unit_of_work() as uow:
            claimed = await WebhookRepository(uow).claim(1, only=copy)
        for event in claimed:
            await self._process(event)
        await self._say_how_it_goes()
        return copy

    async def status_of(self, inbox_id: int) -> str | None:
        """How far a webhook got."""
        query = select(LagoWebhookEvent.status).where(LagoWebhookEvent.id == inbox_id)
        async with self._database.unit_of_work() as uow:
            status: str | None = await uow.session.scalar(query)
            return status

    async def _process(self, event: Claimed) -> bool:
        """Work on one; whether Lago turned out to be away.

        Raises:
            OSError, SQLAlchemyError: the database is away; the claim runs out and the webhook is tried again.
        """
        if event.attempts > MAX_ATTEMPTS:
            await self._fail(event, "never finished", dead=True)
            return False
        try:
            concerns_gate = await refetch(self._mirror, event)
            if concerns_gate:
                await self._gate.check()
            async with self._database.unit_of_work() as uow:
                inbox = WebhookRepository(uow)
                if await inbox.lock(event.id):
                    await react(uow, event)
                    await inbox.processed(event.id)
        except LagoUnavailable as away:
            return await self._postpone(event, f"lago_unavailable: {away}")
        except WebhookUnusable as unusable:
            await self._fail(event, f"unusable: {unusable}", dead=True)
        except Exception as error:
            if isinstance(error, LagoRefused) and error.status in (401, 403):
                return await self._postpone(event, f"lago_refused: {error}")
            if is_outage(error):
                raise
            await self._fail(event, f"{type(error).__name__}: {error}", dead=event.attempts >= MAX_ATTEMPTS)
        return False

    async def _postpone(self, event: Claimed, error: str) -> bool:
        async with self._database.unit_of_work() as uow:
            await WebhookRepository(uow).postponed(event.id, error, seconds=LAGO_AWAY_SECONDS)
        log.warning("webhook_postponed", id=event.id, type=event.webhook_type, error=error)
        return True

    async def _fail(self, event: Claimed, error: str, *, dead: bool) -> None:
        seconds = backoff_seconds(event.attempts, base=FIRST_BACKOFF_SECONDS, ceiling=MAX_BACKOFF_SECONDS)
        async with self._database.unit_of_work() as uow:
            await WebhookRepository(uow).failed(event.id, error[:500], seconds=seconds, dead=dead)
        log.error("webhook_dead" if dead else "webhook_failed", id=event.id, type=event.webhook_type, error=error[:500])

    async def _say_how_it_goes(self) -> None:
        self._said_at = time.monotonic()
        async with self._database.unit_of_work() as uow:
            trouble = await InboxRepository(uow).trouble()
            code = "dead_letters" if trouble.dead else "failing" if trouble.failures >= FAILING_AFTER else None
            known = (await read(uow)).get(Component.LAGO_WEBHOOKS)
            before = known[0].error if known else None
            await report(uow, Component.LAGO_WEBHOOKS, error=code)
            if (code is None) != (before is None):
                _tell_operators(uow, code)


def _tell_operators(uow: UnitOfWork, code: str | None) -> None:
    """The kinds keep the names that operators' screens know; dispatch itself is never switched off."""
    kind, severity = ("lago_webhook_recovered", "info") if code is None else ("lago_webhook_dispatch_disabled", "error")
    uow.emit(
        OperatorNotice(
            kind=kind, severity=severity, source_type="system", source_id="lago-webhook-dispatch", detail=code
        )
    )
