"""The inbox: stored before it is answered, once however often Lago sends it."""

import json
from typing import Any

import httpx
import pytest
from tests.integration.lago.conftest import HMAC_KEY, Post, Town

from polaris_common.db import Database
from polaris_common.lago.inbox import Identifiers, InboxRepository, Stored, WebhookMalformed, identifiers, receive
from polaris_common.lago.signatures import SignatureInvalid, WebhookVerifier
from polaris_sim.lago.webhooks import sign


async def store(town: Town, body: bytes, **headers: str) -> Stored:
    """Store one webhook, as the endpoint does after it checked the signature."""
    async with town.database.unit_of_work() as uow:
        return await InboxRepository(uow).store(body, headers)


async def test_a_delivery_is_stored_once_by_lagos_key(town: Town) -> None:
    key = {"x-lago-unique-key": "9f2c"}
    first = await store(town, b'{"webhook_type":"plan.updated"}', **key)
    again = await store(town, b'{"webhook_type":"plan.updated"}', **key)
    assert (first.duplicate, again) == (False, Stored(first.id, duplicate=True))
    assert (await town.row("SELECT unique_key, status FROM lago_webhook_events")).unique_key == "9f2c"


async def test_without_lagos_key_the_body_is_the_key(town: Town) -> None:
    first = await store(town, b'{"webhook_type":"plan.updated"}')
    assert (await store(town, b'{"webhook_type":"plan.updated"}')).id == first.id
    assert (await store(town, b'{"webhook_type":"plan.deleted"}')).id != first.id


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"object_type": "invoice", "invoice": {"lago_id": "i", "customer": {"external_id": "c"}}},
            Identifiers("invoice", "i", "c", None),
        ),
        (
            {
                "object_type": "invoice",
                "invoice": {"lago_id": "i", "customer": {"external_id": "c"}, "subscriptions": [{"external_id": "s"}]},
            },
            Identifiers("invoice", "i", "c", "s"),
        ),
        (
            {
                "object_type": "subscription",
                "subscription": {"lago_id": "x", "external_id": "s", "external_customer_id": "c"},
            },
            Identifiers("subscription", "x", "c", "s"),
        ),
        (
            {"object_type": "customer", "customer": {"lago_id": "x", "external_id": "c"}},
            Identifiers("customer", "x", "c", None),
        ),
        (
            {
                "object_type": "credit_note",
                "credit_note": {"lago_id": "n", "external_customer_id": "c", "subscription_external_id": "s"},
            },
            Identifiers("credit_note", "n", "c", "s"),
        ),
        (
            {
                "object_type": "payment_provider_invoice_payment_error",
                "payment_provider_invoice_payment_error": {"lago_invoice_id": "i", "external_customer_id": "c"},
            },
            Identifiers("payment_provider_invoice_payment_error", "i", "c", None),
        ),
        ({"wallet": {"lago_id": "w", "external_customer_id": "c"}}, Identifiers(None, "w", "c", None)),
        ({"object_type": ["odd"], "customer": "odd"}, Identifiers(None, None, None, None)),
        ({}, Identifiers(None, None, None, None)),
    ],
)
def test_a_webhook_says_whom_and_what_it_is_about(payload: dict[str, Any], expected: Identifiers) -> None:
    assert identifiers(payload) == expected


async def test_what_postgresql_cannot_keep_is_made_to_fit_and_numbers_stay_exact(town: Town) -> None:
    body = b'{"webhook_type":"fee.created","fee":{"units":0.1234567890123456789,"note":"a\\u0000b\\ud800"}}'
    await store(town, body)
    kept = (await town.row("SELECT payload FROM lago_webhook_events")).payload
    assert kept["fee"] == {"units": "0.1234567890123456789", "note": "ab?"}


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"{", b"\xff", b'{"a":NaN}', b"[" * 100_000])
async def test_a_body_that_is_no_object_is_told_apart(town: Town, body: bytes) -> None:
    with pytest.raises(WebhookMalformed):
        await store(town, body)


async def test_an_unknown_type_is_kept_for_audit(town: Town, post: Post) -> None:
    await post.send("quote.approved", "quote", {"lago_id": "q"})
    assert (await town.row("SELECT status, lago_object_id FROM lago_webhook_events")).status == "processed"


async def test_a_webhook_that_cannot_be_stored_is_sent_again_and_not_lost(
    town: Town, post: Post, away: Database
) -> None:
    post.database = away
    town.lago.customers.upsert({"external_id": "c-1", "name": "Ada"})
    original = post.answer

    async def until_the_database_is_back(request: httpx.Request) -> httpx.Response:
        answer = await original(request)
        post.database = None
        return answer

    town.lago.config.webhook_transport = httpx.MockTransport(until_the_database_is_back)
    await post.settle()
    assert post.answers == [503, 200]
    assert (await town.row("SELECT name FROM lago_customers")).name == "Ada"


async def test_a_forged_webhook_is_not_stored(town: Town) -> None:
    body = json.dumps({"webhook_type": "subscription.terminated"}).encode()
    headers = {"X-Lago-Signature": sign("guessed", body), "X-Lago-Signature-Algorithm": "hmac"}
    with pytest.raises(SignatureInvalid):
        await receive(town.database, WebhookVerifier(hmac_secret=HMAC_KEY), body, headers)
    assert await town.rows("SELECT 1 FROM lago_webhook_events") == []
