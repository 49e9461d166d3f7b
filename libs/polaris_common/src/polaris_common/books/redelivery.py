"""Sending events to Lago again because a person says so: quarantined ones, and those that Lago has lost.

The text of an event never changes, so sending it again is harmless: what Lago has already, it counts once.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from polaris_common.books.operator_actions import note_action
from polaris_common.books.three_way import Kind
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import EventsRequeued
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.lago.inbox import InboxRepository

# Lago bills an event only while the period of its timestamp is open.
_EVENTS = text("""
SELECT e.id, e.transaction_id, e.status, a.session_id,
       NOT EXISTS (SELECT FROM lago_subscriptions s
                   WHERE s.external_id = a.subscription_external_id AND s.status = 'active' AND s.deleted_at IS NULL
                     AND (e.body::json->>'timestamp')::numeric
                         >= coalesce(extract(epoch FROM s.period_started_at), 0)) AS closed
FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id
WHERE e.transaction_id = ANY(CAST(:ids AS text[])) ORDER BY e.id FOR UPDATE OF e
""")

_REQUEUE = text("""
UPDATE lago_events SET status = 'pending', attempts = 0, next_attempt_at = now() WHERE id = ANY(CAST(:ids AS bigint[]))
""")

_RESOLVE = text("""
UPDATE reconciliation_findings SET resolved_at = now()
WHERE kind IN ('quarantined', 'dead_in_lago') AND subject = :subject AND resolved_at IS NULL
""")

_LOST = text("""
SELECT transaction_ids FROM reconciliation_findings
WHERE kind = :kind AND subject = :subject AND resolved_at IS NULL FOR UPDATE
""")


class EventNotFound(NotFound):
    """There is no such event."""

    code, message = "lago_event_not_found", "There is no event with this transaction_id."


class EventNotQuarantined(ApiError):
    """Only what Lago refused can be tried again."""

    status, code = 409, "lago_event_not_quarantined"
    message = "This event is not quarantined: it is delivered, or will be sent anyway."


class NothingLost(ApiError):
    """No check has found that Lago lost anything."""

    status, code = 409, "nothing_lost"
    message = "No comparison has found that Lago lost events of this subscription."


class PeriodClosed(ApiError):
    """Lago would take the event and bill nothing."""

    status, code = 409, "period_closed"
    message = (
        "Its billing period is closed: Lago would take the event and bill nothing,"
        " unless the period's invoice is still a draft."
    )


async def replay_webhook(uow: UnitOfWork, inbox_id: int, *, reason: str, actor: str) -> int:
    """Let the billing-bridge work off a copy of a webhook, whatever became of the original; the copy's id.

    Raises:
        WebhookNotFound, ReasonMissing: nothing has changed.
    """
    copy = await InboxRepository(uow).clone(inbox_id)
    note_action(uow, "webhooks.replay", f"webhook:{inbox_id}", actor=actor, reason=reason, details={"copy": copy})
    return copy


async def retry_event(
    uow: UnitOfWork, transaction_id: str, *, reason: str, actor: str, although_closed: bool = False
) -> None:
    """Send a quarantined event again. If Lago has it, it is delivered; whether it counts, the next comparison tells.

    Raises:
        EventNotFound, EventNotQuarantined, PeriodClosed, ReasonMissing: nothing has changed.
    """
    events = await _locked(uow, [transaction_id])
    if not events:
        raise EventNotFound
    if events[0].status != "quarantined":
        raise EventNotQuarantined
    subject = f"event:{transaction_id}"
    note_action(uow, "event.retry", subject, actor=actor, reason=reason, details={"althoughClosed": although_closed})
    await _requeue(uow, events, actor=actor, although_closed=although_closed)
    await uow.execute(_RESOLVE, {"subject": transaction_id})


async def resend_lost(
    uow: UnitOfWork, subscription: str, *, reason: str, actor: str, although_closed: bool = False
) -> int:
    """Send again what the latest comparison found Lago to have lost of a subscription; the number of events.

    A comparison names the first lost events only; where there are more, compare and send again.

    Raises:
        NothingLost, PeriodClosed, ReasonMissing: nothing has changed.
    """
    subject = f"subscription:{subscription}"
    lost = (await uow.execute(_LOST, {"kind": Kind.MISSING_IN_LAGO.value, "subject": subject})).scalar_one_or_none()
    events = [event for event in await _locked(uow, lost or []) if event.status == "delivered"]
    if not events:
        raise NothingLost
    ids = [event.transaction_id for event in events]
    note_action(uow, "events.resend", subject, actor=actor, reason=reason, details={"transactionIds": ids})
    await _requeue(uow, events, actor=actor, although_closed=although_closed)
    return len(events)


async def _locked(uow: UnitOfWork, transaction_ids: Sequence[str]) -> Sequence[Any]:
    return (await uow.execute(_EVENTS, {"ids": list(transaction_ids)})).all()


async def _requeue(uow: UnitOfWork, events: Sequence[Any], *, actor: str, although_closed: bool) -> None:
    if any(event.closed for event in events) and not although_closed:
        raise PeriodClosed
    await uow.execute(_REQUEUE, {"ids": [event.id for event in events]})
    uow.emit(EventsRequeued(transaction_ids=[event.transaction_id for event in events], actor=actor))
