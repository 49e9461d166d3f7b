"""An asynchronous client for Lago's REST API.

The official client is synchronous, opens a connection per call and never retries a lost answer; the few calls we need
are below. Answers are read tolerantly: numbers as ``Decimal``, unknown fields ignored.
"""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from polaris_common.clock import to_wire
from polaris_common.http.transport import RETRYABLE_STATUS, create_client, get_with_retries
from polaris_common.lago.budget import Lane, PausedByLago, RequestBudget
from polaris_common.settings import LagoSettings

READ_SECONDS = 30.0
PAGE_SIZE = 100
MAX_BATCH = 100
"""Lago refuses longer batches (LAGO_EVENTS_BATCH_MAX_LENGTH)."""

_EVENTS_ACCEPTED = b'{"events":[{'
"""How Lago's answer to a batch begins: it repeats every event, and nobody needs them."""

SUBSCRIPTION_STATUSES = ("active", "pending", "canceled", "terminated")


class LagoUnavailable(Exception):
    """No answer, a 5xx, a 429 or a proxy's page: nothing is known about what was sent; send the same again later."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that Lago asks us to wait, when it says."""


class LagoRefused(Exception):
    """Lago understood and refused; sending the same again is pointless.

    ``details`` is Lago's ``error_details``: for a batch, a map from index to field errors.
    """

    def __init__(self, status: int, code: str | None, details: Mapping[str, Any]) -> None:
        super().__init__(f"Lago answered {status} {code or ''}".strip())
        self.status, self.code, self.details = status, code, details


class LagoNotFound(LagoRefused):
    """There is no such thing in Lago: a 404 in Lago's own words, naming what is missing; not a proxy's."""


class LagoClient:
    """One connection pool to one Lago organisation. ``budget``: how many requests it gets; without one, any number."""

    def __init__(
        self,
        settings: LagoSettings,
        *,
        budget: RequestBudget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if settings.lago_api_url is None or settings.lago_api_key is None:
            raise ValueError("LAGO_API_URL and LAGO_API_KEY are not set")
        self._http = create_client(
            f"{settings.lago_api_url}/api/v1",
            read_seconds=READ_SECONDS,
            headers={"Authorization": f"Bearer {settings.lago_api_key.get_secret_value()}"},
            transport=transport,
        )
        self._budget = budget or RequestBudget()

    @property
    def events_paused_for(self) -> float:
        """The seconds for which Lago wants no events."""
        return self._budget.pause(Lane.EVENTS)

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()

    async def send_events(self, bodies: Sequence[str]) -> None:
        """Send 1 to 100 events, each given as its stored JSON text, byte for byte. All or nothing.

        Raises:
            LagoUnavailable: unknown whether Lago has them; send the same texts again.
            LagoRefused: none is stored; ``details`` says which index has which problem.
        """
        content = '{"events":[' + ",".join(bodies) + "]}"
        try:
            await self._budget.take(Lane.EVENTS)
            response = await self._counted(
                Lane.EVENTS,
                self._http.post(
                    "/events/batch", content=content.encode(), headers={"Content-Type": "application/json"}
                ),
            )
        except PausedByLago as paused:
            raise LagoUnavailable(str(paused), retry_after=paused.seconds) from None
        except httpx.TransportError as error:
            raise LagoUnavailable(type(error).__name__) from error
        if response.status_code != HTTPStatus.OK or not response.content.startswith(_EVENTS_ACCEPTED):
            accepted = _read(response).get("events")
            if not isinstance(accepted, list) or not accepted:
                raise LagoUnavailable("an answer without events")  # somebody else's 200

    async def events(
        self, *, subscription: str, code: str, since: datetime, until: datetime
    ) -> AsyncIterator[dict[str, Any]]:
        """The stored events of one subscription and metric from ``since`` to ``until``, whether they count or not.

        ClickHouse shows each arrival of an event, the newest first. While events arrive, pages may overlap.
        """
        query = {
            "external_subscription_id": subscription,
            "code": code,
            "timestamp_from": to_wire(since),
            "timestamp_to": to_wire(until),
        }
        async for event in self._pages("/events", "events", query):
            yield event

    async def has_events(self, *, code: str, since: datetime, until: datetime) -> bool:
        """Whether any event of a metric is stored for that time, whoever's. Large organisations answer slowly.

        Raises:
            LagoUnavailable, LagoRefused: nothing is known.
        """
        window = {"timestamp_from": to_wire(since), "timestamp_to": to_wire(until)}
        body = await self._get("/events", {"code": code, **window, "page": 1, "per_page": 1})
        return body.get("events") != []

    async def event(self, transaction_id: str) -> dict[str, Any]:
        """Some event with that id."""
        return await self._one(f"/events/{_quoted(transaction_id)}", "event")

    async def customers(self) -> AsyncIterator[dict[str, Any]]:
        """Every customer."""
        async for customer in self._pages("/customers", "customers", {}):
            yield customer

    async def customer(self, external_id: str) -> dict[str, Any]:
        """One customer.

        Raises:
            LagoUnavailable, LagoRefused, LagoNotFound: as the classes say; the same for every read of one object below.
        """
        return await self._one(f"/customers/{_quoted(external_id)}", "customer")

    async def subscriptions(self, *, external_customer_id: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Every subscription (of one customer, when named), in every status."""
        query: dict[str, str | int | Sequence[str]] = {"status[]": SUBSCRIPTION_STATUSES}
        if external_customer_id is not None:
            query["external_customer_id"] = external_customer_id
        async for subscription in self._pages("/subscriptions", "subscriptions", query):
            yield subscription

    async def subscription(self, external_id: str, *, status: str = "active") -> dict[str, Any]:
        """The newest subscription of that external id that is in ``status``."""
        return await self._one(f"/subscriptions/{_quoted(external_id)}", "subscription", {"status": status})

    async def plans(self) -> AsyncIterator[dict[str, Any]]:
        """Every plan, with its charges."""
        async for plan in self._pages("/plans", "plans", {}):
            yield plan

    async def plan(self, code: str) -> dict[str, Any]:
        """One plan."""
        return await self._one(f"/plans/{_quoted(code)}", "plan")

    async def billable_metrics(self) -> AsyncIterator[dict[str, Any]]:
        """Every billable metric."""
        async for metric in self._pages("/billable_metrics", "billable_metrics", {}):
            yield metric

    async def billable_metric(self, code: str) -> dict[str, Any]:
        """One billable metric."""
        return await self._one(f"/billable_metrics/{_quoted(code)}", "billable_metric")

    async def invoices(
        self, *, statuses: Sequence[str] = (), payment_statuses: Sequence[str] = (), issued_from: date | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Invoices without their fees, newest first; all of them unless a filter is given."""
        query: dict[str, str | int | Sequence[str]] = {}
        if statuses:
            query["statuses[]"] = statuses
        if payment_statuses:
            query["payment_statuses[]"] = payment_statuses
        if issued_from is not None:
            query["issuing_date_from"] = issued_from.isoformat()
        async for invoice in self._pages("/invoices", "invoices", query):
            yield invoice

    async def invoice(self, lago_id: str) -> dict[str, Any]:
        """One invoice with its fees."""
        return await self._one(f"/invoices/{_quoted(lago_id)}", "invoice")

    async def fee(self, lago_id: str) -> dict[str, Any]:
        """One line of an invoice."""
        return await self._one(f"/fees/{_quoted(lago_id)}", "fee")

    async def wallets(self, external_customer_id: str) -> AsyncIterator[dict[str, Any]]:
        """Every wallet of one customer."""
        query = {"external_customer_id": external_customer_id}
        async for wallet in self._pages("/wallets", "wallets", query):
            yield wallet

    async def wallet(self, lago_id: str) -> dict[str, Any]:
        """One wallet."""
        return await self._one(f"/wallets/{_quoted(lago_id)}", "wallet")

    async def webhook_public_key(self) -> bytes:
        """The key (PEM) that Lago signs JWT webhooks with.

        Raises:
            LagoUnavailable, LagoRefused: there is no key to be had now.
        """
        webhook = await self._one("/webhooks/json_public_key", "webhook")
        try:
            return base64.b64decode(str(webhook.get("public_key")))
        except ValueError as error:
            raise LagoUnavailable("a public key that is no base64") from error

    async def current_usage(self, customer: str, subscription: str) -> dict[str, Any]:
        """What Lago has counted for a subscription in the running period.

        Raises:
            LagoUnavailable, LagoRefused, LagoNotFound: as the classes say.
        """
        path = f"/customers/{_quoted(customer)}/current_usage"
        body = await self._get(path, {"external_subscription_id": subscription, "apply_taxes": "false"})
        usage: dict[str, Any] = body["customer_usage"]
        return usage

    async def ping(self) -> None:
        """One cheap authenticated call.

        Raises:
            LagoUnavailable, LagoRefused: Lago is away or refuses our key.
        """
        await self._get("/billable_metrics", {"per_page": 1})

    async def _pages(
        self, path: str, key: str, query: Mapping[str, str | int | Sequence[str]]
    ) -> AsyncIterator[dict[str, Any]]:
        page = 1
        while True:
            body = await self._get(path, {**query, "page": page, "per_page": PAGE_SIZE})
            items = body.get(key)
            if not isinstance(items, list):
                raise LagoUnavailable(f"a page without {key}")
            for item in items:
                yield item
            if not items or (len(items) < PAGE_SIZE and not _says_more(body)):
                return
            page += 1

    async def _one(self, path: str, key: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            body = await self._get(path, query or {})
        except LagoNotFound as missing:
            if missing.code == f"{key}_not_found":
                raise
            raise LagoRefused(missing.status, missing.code, missing.details) from missing
        found = body.get(key)
        if not isinstance(found, dict):
            raise LagoUnavailable(f"an answer without {key}")
        return found

    async def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = await get_with_retries(lambda: self._get_once(path, query))
        except PausedByLago as paused:
            raise LagoUnavailable(str(paused), retry_after=paused.seconds) from None
        except httpx.TransportError as error:
            raise LagoUnavailable(type(error).__name__) from error
        return _read(response)

    async def _get_once(self, path: str, query: Mapping[str, Any]) -> httpx.Response:
        await self._budget.take(Lane.READS)
        return await self._counted(Lane.READS, self._http.get(path, params=httpx.QueryParams(dict(query))))

    async def _counted(self, lane: Lane, request: Awaitable[httpx.Response]) -> httpx.Response:
        """The answer; what it says about rates goes to the budget."""
        response = await request
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            self._budget.refused(lane, retry_after=_retry_after(response))
        else:
            remaining = response.headers.get("x-ratelimit-remaining", "")
            self._budget.answered(
                lane, remaining=int(remaining) if remaining.isdecimal() else None, reset=_retry_after(response)
            )
        return response


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _says_more(body: Mapping[str, Any]) -> bool:
    """Whether a short page is not the last one: a server that caps pages below what we ask for."""
    meta = body.get("meta")
    return isinstance(meta, dict) and bool(meta.get("next_page"))


def _read(response: httpx.Response) -> dict[str, Any]:
    status = response.status_code
    if status in RETRYABLE_STATUS:
        raise LagoUnavailable(f"HTTP {status}", retry_after=_retry_after(response))
    try:
        body = json.loads(response.content, parse_float=Decimal)
    except ValueError as error:
        raise LagoUnavailable(f"HTTP {status} without JSON") from error
    if not isinstance(body, dict):
        raise LagoUnavailable(f"HTTP {status} with JSON that is not Lago's")
    if status == HTTPStatus.OK:
        return body
    details = body.get("error_details")
    kind = LagoNotFound if status == HTTPStatus.NOT_FOUND else LagoRefused
    raise kind(status, body.get("code"), details if isinstance(details, dict) else {})


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("x-ratelimit-reset") or response.headers.get("retry-after")
    try:
        return None if text is None else min(max(float(text), 0.0), 300.0)
    except ValueError:
        return None
