"""A Lago in memory: what its API, its background clock and its webhooks do."""

import asyncio
from decimal import Decimal

from polaris_sim.lago import money_views, totals, views
from polaris_sim.lago.catalog import Catalog
from polaris_sim.lago.config import EventStore, LagoConfig
from polaris_sim.lago.customers import Customers
from polaris_sim.lago.errors import Invalid, NotAllowed, NotFound
from polaris_sim.lago.event_errors import EventErrors
from polaris_sim.lago.invoices import Invoices
from polaris_sim.lago.models import Event, Fee, Subscription, SubscriptionStatus, Wallet
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.subscriptions import Subscriptions
from polaris_sim.lago.usage import charge_fees
from polaris_sim.lago.wire import JsonObject, mapping, number, objects, text


class LagoSimulator:
    """One organization on one simulated Lago server.

    Nothing happens by itself: every request first does what the simulated clock has made due (``roll_over``), and
    ``run`` does so once a second for a simulator that nobody calls.
    """

    def __init__(self, config: LagoConfig | None = None) -> None:
        self.config = config or LagoConfig()
        self.organization = Organization(self.config)
        self.catalog = Catalog(self.organization)
        self.customers = Customers(self.organization)
        self.invoices = Invoices(self.organization)
        self.subscriptions = Subscriptions(self.organization, self.customers, self.invoices)
        self.webhooks = self.organization.webhooks
        self.requests: dict[tuple[str, str, int], int] = {}
        EventErrors(self.organization)
        if self.config.webhook_url:
            self.webhooks.register(
                {"webhook_url": self.config.webhook_url, "signature_algo": "hmac"}, self.organization.now()
            )

    def roll_over(self) -> None:
        """Do everything that is due by the simulated clock: start, bill, finalise, end, report."""
        self.organization.agenda.run_until(self.organization.now())

    async def run(self, stop: asyncio.Event, *, every_seconds: float = 1.0) -> None:
        """Follow the simulated clock until ``stop`` is set, then close."""
        while not stop.is_set():
            self.roll_over()
            self.webhooks.kick()
            try:
                await asyncio.wait_for(stop.wait(), every_seconds)
            except TimeoutError:
                continue
        await self.aclose()

    async def aclose(self) -> None:
        """Stop delivering webhooks."""
        await self.webhooks.aclose()

    def record_event(self, item: object) -> Event:
        """Accept one usage event (``POST /events``)."""
        return self.organization.events.accept(item, self.organization.now())

    def record_events(self, items: object) -> list[Event]:
        """Accept a batch of usage events (``POST /events/batch``)."""
        return self.organization.events.accept_batch(items, self.organization.now())

    def switch_store(self, store: EventStore) -> None:
        """Move the organization's events to the other store."""
        self.organization.events.switch(store)

    def current_usage(
        self, external_customer_id: str, external_subscription_id: str | None, *, metric_code: str | None = None
    ) -> JsonObject:
        """What the subscription has used in its current period.

        Raises:
            NotFound: no such customer.
            NotAllowed: the subscription is not active, or belongs to somebody else.
        """
        org = self.organization
        customer = org.customer(external_customer_id)
        try:
            subscription = org.subscription(external_subscription_id or "", SubscriptionStatus.ACTIVE)
        except NotFound:
            raise NotAllowed("no_active_subscription") from None
        if subscription.customer is not customer:
            raise NotAllowed("no_active_subscription")
        if not self.config.stale_cache:
            org.usage_cache.clear()
            return self._usage_now(subscription, metric_code)
        key = f"{subscription.lago_id} {metric_code}"
        if key not in org.usage_cache:
            org.usage_cache[key] = self._usage_now(subscription, metric_code)
        return org.usage_cache[key]

    def past_usage(self, external_customer_id: str, external_subscription_id: str | None) -> list[JsonObject]:
        """Usage of the invoiced periods, newest first, built from the fees."""
        customer = self.organization.customer(external_customer_id)
        chain = self.organization.subscriptions.get(external_subscription_id or "")
        if not chain or chain[-1].customer is not customer:
            raise NotFound("subscription")
        periods: list[JsonObject] = []
        for invoice in reversed(self.organization.invoices.values()):
            if invoice.subscription in chain:
                charged = [fee for fee in invoice.fees if fee.charge is not None]
                periods.append(money_views.usage(invoice.subscription, invoice.period, charged, invoice))
        return periods

    def create_wallet(self, body: JsonObject) -> Wallet:
        """Give a customer a wallet; granted credits are there at once, paid credits are not.

        Raises:
            NotFound: no such customer.
            Invalid: no currency or rate, or another currency than the customer's.
        """
        customer = self.organization.customer(text(body, "external_customer_id"))
        currency = text(body, "currency") or customer.currency
        rate = number(body, "rate_amount")
        if currency is None or rate <= 0:
            raise Invalid({"currency" if currency is None else "rate_amount": ["value_is_mandatory"]})
        if customer.currency not in (None, currency):
            raise Invalid({"currency": ["currencies_does_not_match"]})
        wallet = Wallet(
            customer=customer,
            name=text(body, "name"),
            currency=currency,
            rate_amount=rate,
            credits_balance=number(body, "granted_credits", Decimal(0)),
            created_at=self.organization.now(),
            expiration_at=text(body, "expiration_at"),
        )
        self.organization.wallets[wallet.lago_id] = wallet
        self.webhooks.emit("wallet.created", "wallet", lambda: views.wallet(wallet))
        return wallet

    def seed(self, body: JsonObject) -> JsonObject:
        """Load metrics, plans, customers, subscriptions and wallets in one go, without webhooks; counts what it made.

        Each list holds the objects that the matching ``POST`` takes; metrics and plans that exist are left alone.
        """
        endpoints, self.webhooks.endpoints = self.webhooks.endpoints, {}
        org = self.organization
        try:
            metrics = [item for item in objects(body, "billable_metrics") if text(item, "code") not in org.metrics]
            plans = [item for item in objects(body, "plans") if text(item, "code") not in org.plans]
            made = {
                "billable_metrics": len([self.catalog.create_metric(item) for item in metrics]),
                "plans": len([self.catalog.create_plan(item) for item in plans]),
                "customers": len([self.customers.upsert(item) for item in objects(body, "customers")]),
                "subscriptions": len([self.subscriptions.create(item) for item in objects(body, "subscriptions")]),
                "wallets": len([self.create_wallet(item) for item in objects(body, "wallets")]),
            }
        finally:
            self.webhooks.endpoints = endpoints
        return {**made}

    def totals(self) -> JsonObject:
        """What Lago would bill in total; see ``polaris_sim.lago.totals``."""
        return totals.totals(self.organization)

    def units(self, external_subscription_id: str, code: str) -> Decimal:
        """All units of one subscription and metric, over all time."""
        events = self.organization.events.series.get((external_subscription_id, code), [])
        total = totals.series_total(self.organization, external_subscription_id, code, events)
        return total.units if total else Decimal(0)

    def configure(self, body: JsonObject) -> None:
        """Change the running configuration; see ``PUT /_sim/config``."""
        if "store" in body:
            self.switch_store(EventStore(text(body, "store") or ""))
        config, switches = self.config, mapping(body, "webhooks")
        config.premium = bool(body.get("premium", config.premium))
        config.partial_batches = bool(body.get("partialBatches", config.partial_batches))
        config.stale_cache = bool(body.get("staleCache", config.stale_cache))
        if not config.stale_cache:
            self.organization.usage_cache.clear()
            self.organization.count_cache.clear()
        config.invoice_grace_period = int(number(body, "invoiceGracePeriod", Decimal(config.invoice_grace_period)))
        webhooks = config.webhooks
        webhooks.duplicate = bool(switches.get("duplicate", webhooks.duplicate))
        webhooks.out_of_order = bool(switches.get("outOfOrder", webhooks.out_of_order))
        webhooks.drop = float(number(switches, "drop", Decimal(str(webhooks.drop))))
        webhooks.retry_scale = float(number(switches, "retryScale", Decimal(str(webhooks.retry_scale))))

    def _usage_now(self, subscription: Subscription, metric_code: str | None) -> JsonObject:
        now = self.organization.now()
        period = subscription.period(now).clipped(since=subscription.started_at)
        fees: list[Fee] = charge_fees(self.organization.events, subscription, period, now)
        shown = money_views.usage(subscription, period, fees, None)
        if metric_code is not None:
            charges = objects(shown, "charges_usage")
            shown["charges_usage"] = [one for one in charges if mapping(one, "billable_metric")["code"] == metric_code]
        return shown
