"""The inbox of Lago's webhooks: stored before they are answered, once however often Lago sends them.

The gateway's endpoint calls ``receive``; the billing-bridge works the rows off.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from polaris_common.db import Database, Repository, UnitOfWork
from polaris_common.http.errors import NotFound
from polaris_common.lago import wire
from polaris_common.lago.signatures import WebhookVerifier
from polaris_common.models import LagoWebhookEvent

UNIQUE_KEY_HEADER = "x-lago-unique-key"
UNKNOWN_TYPE = "unknown"
_INNER_KEYS = (
    "invoice", "customer", "subscription", "wallet", "wallet_transaction", "alert", "triggered_alert", "credit_note",
    "payment", "payment_request", "fee", "event", "plan", "billable_metric", "payment_provider_invoice_payment_error",
    "payment_provider_wallet_transaction_payment_error",
)  # fmt: skip

# A dead letter is settled once any replay of it went through.
_UNSETTLED = """
SELECT d.id FROM lago_webhook_events d WHERE d.status = 'dead' AND NOT EXISTS (
    SELECT 1 FROM lago_webhook_events r
    WHERE r.replayed_from_id = coalesce(d.replayed_from_id, d.id) AND r.status = 'processed')
"""

_TROUBLE = text(f"""
SELECT (SELECT count(*) FROM ({_UNSETTLED}) AS unsettled) AS dead,
       (SELECT coalesce(sum(attempts), 0) FROM lago_webhook_events
        WHERE status = 'pending' AND last_error IS NOT NULL) AS failures
""")  # noqa: S608 - no input in it

RETENTION_DAYS = 90
DELETED_AT_ONCE = 1_000

# A webhook and its replays are one family: while one of them is dead or waits, all of it stays, so that it can still be
# told whether the dead one was settled.
_DELETE_OLD = text("""
DELETE FROM lago_webhook_events WHERE id IN (
    SELECT e.id FROM lago_webhook_events e
    WHERE e.status = 'processed' AND e.processed_at < now() - make_interval(days => :days)
      AND NOT EXISTS (SELECT 1 FROM lago_webhook_events f
                      WHERE f.id = e.replayed_from_id AND f.status <> 'processed')
      AND NOT EXISTS (SELECT 1 FROM lago_webhook_events f
                      WHERE f.replayed_from_id = coalesce(e.replayed_from_id, e.id) AND f.status <> 'processed')
    ORDER BY e.processed_at LIMIT :limit)
""")

_CLONE = text("""
INSERT INTO lago_webhook_events (unique_key, body_sha256, webhook_type, object_type, lago_object_id,
                                 external_customer_id, external_subscription_id, payload, replayed_from_id)
SELECT 'replay:' || id || ':' || gen_random_uuid(), body_sha256, webhook_type, object_type, lago_object_id,
       external_customer_id, external_subscription_id, payload, coalesce(replayed_from_id, id)
FROM lago_webhook_events WHERE id = :id
RETURNING id
""")


class WebhookNotFound(NotFound):
    """There is no such webhook to replay, or not any more."""

    code = "webhook_not_found"
    message = f"There is no such webhook in the inbox. One that went through is kept for {RETENTION_DAYS} days."


class WebhookMalformed(Exception):
    """The body is signed but no JSON object; nothing can be stored. Answer 200 ``invalid_json``: no retry helps."""


class WebhookNotStored(Exception):
    """The inbox could not be written. Answer 503, so that Lago sends it again."""


@dataclass(frozen=True)
class Identifiers:
    """What a webhook is about, as far as it says."""

    object_type: str | None
    lago_object_id: str | None
    external_customer_id: str | None
    external_subscription_id: str | None


@dataclass(frozen=True)
class Stored:
    """The inbox row of a webhook; ``duplicate``: it was there already."""

    id: int
    duplicate: bool


@dataclass(frozen=True)
class Trouble:
    """What operators should know: unsettled dead letters, and failed attempts of webhooks that still wait."""

    dead: int
    failures: int


async def delete_old(uow: UnitOfWork) -> int:
    """Forget webhooks that went through longer ago than the retention, some at a time; how many.

    What is dead or waits stays, however old it is.
    """
    return await uow.write(_DELETE_OLD, {"days": RETENTION_DAYS, "limit": DELETED_AT_ONCE})


async def receive(database: Database, verifier: WebhookVerifier, raw_body: bytes, headers: Mapping[str, str]) -> Stored:
    """Check and store one webhook. When this returns it is durable and may be answered with 200.

    ``headers``: any mapping; names are compared without case.

    Raises:
        SignatureMissing, SignatureInvalid: not from Lago.
        SignatureUncheckable, WebhookNotStored: Lago must send it again.
        WebhookMalformed: signed, but no JSON object.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    await verifier.verify(raw_body, lowered)
    try:
        async with database.unit_of_work() as uow:
            stored = await InboxRepository(uow).store(raw_body, lowered)
    except (OSError, SQLAlchemyError) as error:
        raise WebhookNotStored(type(error).__name__) from error
    return stored


class InboxRepository(Repository[LagoWebhookEvent]):
    """Putting webhooks into the inbox."""

    model = LagoWebhookEvent

    async def store(self, raw_body: bytes, headers: Mapping[str, str]) -> Stored:
        """Insert a webhook unless its delivery is known; ``headers`` by lower-case name.

        Raises:
            WebhookMalformed: the body is no JSON object.
        """
        payload, digest = parse(raw_body), hashlib.sha256(raw_body).digest()
        unique_key = wire.text(headers, UNIQUE_KEY_HEADER) or f"sha256:{digest.hex()}"
        found = identifiers(payload)
        values = {
            "unique_key": unique_key,
            "body_sha256": digest,
            "webhook_type": wire.text(payload, "webhook_type") or UNKNOWN_TYPE,
            "object_type": found.object_type,
            "lago_object_id": found.lago_object_id,
            "external_customer_id": found.external_customer_id,
            "external_subscription_id": found.external_subscription_id,
            "payload": payload,
        }
        statement = insert(LagoWebhookEvent).values(values).on_conflict_do_nothing(index_elements=["unique_key"])
        inbox_id = (await self.uow.execute(statement.returning(LagoWebhookEvent.id))).scalar_one_or_none()
        if inbox_id is not None:
            return Stored(inbox_id, duplicate=False)
        known = select(LagoWebhookEvent.id).where(LagoWebhookEvent.unique_key == unique_key)
        return Stored((await self.uow.execute(known)).scalar_one(), duplicate=True)

    async def clone(self, inbox_id: int) -> int:
        """Put a copy of a stored webhook at the end of the inbox, for a replay; its id.

        Raises:
            WebhookNotFound: there is none with that id, or it is no longer kept.
        """
        cloned: int | None = (await self.uow.execute(_CLONE, {"id": inbox_id})).scalar_one_or_none()
        if cloned is None:
            raise WebhookNotFound
        return cloned

    async def unsettled(self) -> list[LagoWebhookEvent]:
        """The dead letters that no replay has settled, oldest first."""
        query = select(LagoWebhookEvent).where(LagoWebhookEvent.id.in_(text(_UNSETTLED).columns(LagoWebhookEvent.id)))
        return await self.all(query.order_by(LagoWebhookEvent.id))

    async def trouble(self) -> Trouble:
        """How badly it goes with what is in the inbox."""
        row = (await self.uow.execute(_TROUBLE)).one()
        return Trouble(row.dead, int(row.failures))


def parse(raw_body: bytes) -> dict[str, Any]:
    """The body as PostgreSQL can keep it: exact decimals as text.

    Raises:
        WebhookMalformed: the body is no JSON object.
    """
    try:
        payload = json.loads(raw_body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WebhookMalformed from error
    if not isinstance(payload, dict):
        raise WebhookMalformed
    stored: dict[str, Any] = wire.storable(payload)
    return stored


def inner(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The object that the webhook carries, under its ``object_type`` or a key that we know."""
    keys = (wire.text(payload, "object_type") or "", *_INNER_KEYS)
    return next((found for key in keys if (found := wire.nested(payload, key))), {})


def identifiers(payload: Mapping[str, Any]) -> Identifiers:
    """Whom and what the webhook is about."""
    carried = inner(payload)
    subscriptions = wire.objects(carried, "subscriptions")
    in_subscriptions = wire.text(subscriptions[0], "external_id") if subscriptions else None
    of_subscription = wire.text(carried, "external_id") if carried is wire.nested(payload, "subscription") else None
    of_customer = wire.text(carried, "external_id") if carried is wire.nested(payload, "customer") else None
    return Identifiers(
        object_type=wire.text(payload, "object_type"),
        lago_object_id=wire.text(carried, "lago_id") or wire.text(carried, "lago_invoice_id"),
        external_customer_id=wire.text(carried, "external_customer_id")
        or wire.text(wire.nested(carried, "customer"), "external_id")
        or of_customer,
        external_subscription_id=wire.text(carried, "external_subscription_id")
        or wire.text(carried, "subscription_external_id")
        or in_subscriptions
        or of_subscription,
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
