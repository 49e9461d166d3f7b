"""Subscriptions: creation, upgrade, downgrade, start, end and the turn of billing periods."""

from decimal import Decimal

from polaris_sim.lago import views
from polaris_sim.lago.customers import Customers
from polaris_sim.lago.errors import ALREADY_EXISTS, INVALID_VALUE, MANDATORY, ErrorDetails, Forbidden, Invalid, NotFound
from polaris_sim.lago.invoices import Invoices
from polaris_sim.lago.models import Customer, Plan, Subscription, SubscriptionStatus
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.periods import PERIODS_PER_YEAR, BillingTime, Period, billing_run_after
from polaris_sim.lago.wire import SECOND, JsonObject, iso_time, text

_ACTIVE, _PENDING = SubscriptionStatus.ACTIVE, SubscriptionStatus.PENDING
_START_CLOCK = 300 * SECOND


class Subscriptions:
    """The subscriptions of the organization; keeps the agenda of their periods."""

    def __init__(self, organization: Organization, customers: Customers, invoices: Invoices) -> None:
        self._org, self._customers, self._invoices = organization, customers, invoices

    def create(self, body: JsonObject) -> Subscription:
        """Subscribe a customer, or up- or downgrade what runs under the same external id.

        An unknown customer is created bare. The same plan again changes nothing.

        Raises:
            Invalid: a field is missing or malformed, or another customer uses the external id.
            NotFound: no such plan.
            Forbidden: ``plan_overrides`` without licence.
        """
        now = self._org.now()
        errors = _check(body, now)
        if errors:
            raise Invalid(errors)
        if body.get("plan_overrides") and not self._org.config.premium:
            raise Forbidden
        plan = self._org.plan(text(body, "plan_code"))
        external_id, customer_id = text(body, "external_id") or "", text(body, "external_customer_id") or ""
        current = self._current(external_id)
        if current is not None and current.customer.external_id != customer_id:
            raise Invalid({"external_id": [ALREADY_EXISTS]})
        customer = self._org.customers.get(customer_id) or self._customers.create(customer_id, {})
        if customer.currency not in (None, plan.currency):
            raise Invalid({"currency": ["currencies_does_not_match"]})
        customer.fields.setdefault("currency", plan.currency)
        if current is None:
            return self._begin(body, customer, plan, now)
        if current.plan is plan:
            return current
        if current.status is _PENDING:
            current.plan = plan
            return current
        if _yearly_amount(plan) >= _yearly_amount(current.plan):
            return self._upgrade(current, plan, body, now)
        return self._downgrade(current, plan, body, now)

    def update(self, subscription: Subscription, body: JsonObject) -> Subscription:
        """Change name, end or termination behaviour."""
        if body.get("plan_overrides") and not self._org.config.premium:
            raise Forbidden
        now = self._org.now()
        if "ending_at" in body:
            ending_at = iso_time(body["ending_at"])
            if body["ending_at"] is not None and (ending_at is None or ending_at <= now):
                raise Invalid({"ending_at": ["invalid_date"]})
            self._set_end(subscription, ending_at)
        subscription.name = text(body, "name") or subscription.name
        subscription.on_termination_invoice = text(body, "on_termination_invoice") or "generate"
        subscription.on_termination_credit_note = text(body, "on_termination_credit_note")
        self._emit("updated", subscription)
        return subscription

    def terminate(self, subscription: Subscription, *, invoice: str | None = None) -> Subscription:
        """End an active subscription now, with its final invoice unless ``skip``; cancel a pending one."""
        now = self._org.now()
        if subscription.status is _PENDING:
            self._cancel(subscription, now)
        else:
            self._terminate(subscription, now, invoice or subscription.on_termination_invoice)
        return subscription

    def delete_customer(self, external_id: str) -> Customer:
        """Remove a customer and end the subscriptions."""
        customer = self._org.customer(external_id)
        for subscription in list(self._org.subscriptions_of(customer)):
            if subscription.status in (_ACTIVE, _PENDING):
                self.terminate(subscription)
        del self._org.customers[external_id]
        return customer

    def _current(self, external_id: str) -> Subscription | None:
        for status in (_ACTIVE, _PENDING):
            try:
                return self._org.subscription(external_id, status)
            except NotFound:
                continue
        return None

    def _begin(self, body: JsonObject, customer: Customer, plan: Plan, now: int) -> Subscription:
        subscription_at = iso_time(body.get("subscription_at"))
        subscription = Subscription(
            external_id=text(body, "external_id") or "",
            customer=customer,
            plan=plan,
            billing_time=BillingTime(text(body, "billing_time") or BillingTime.CALENDAR),
            subscription_at=now if subscription_at is None else subscription_at,
            created_at=now,
            name=text(body, "name"),
        )
        self._org.subscriptions.setdefault(subscription.external_id, []).append(subscription)
        self._set_end(subscription, iso_time(body.get("ending_at")))
        if subscription.subscription_at <= now:
            self._start(subscription, subscription.subscription_at, now)
        else:
            due = -(-subscription.subscription_at // _START_CLOCK) * _START_CLOCK
            self._org.agenda.at(due, lambda time: self._start_pending(subscription, time))
        return subscription

    def _start_pending(self, subscription: Subscription, time: int) -> None:
        if subscription.status is _PENDING:
            self._start(subscription, subscription.subscription_at, time)

    def _start(self, subscription: Subscription, started_at: int, now: int) -> None:
        """Periods that have passed before ``now`` are never billed."""
        subscription.status, subscription.started_at = _ACTIVE, started_at
        subscription.billed_until = max(started_at, subscription.period(now).start)
        self._schedule(subscription)
        if subscription.plan.pay_in_advance:
            period = subscription.period(now).clipped(since=subscription.billed_until)
            self._invoices.bill(subscription, period, "subscription_starting", now)
        self._emit("started", subscription)

    def _upgrade(self, current: Subscription, plan: Plan, body: JsonObject, now: int) -> Subscription:
        successor = self._successor(current, plan, body, now)
        self._terminate(current, now, "generate", keep_next=True)
        self._start(successor, now, now)
        return successor

    def _downgrade(self, current: Subscription, plan: Plan, body: JsonObject, now: int) -> Subscription:
        self._successor(current, plan, body, now)
        self._emit("updated", current)
        return current

    def _successor(self, current: Subscription, plan: Plan, body: JsonObject, now: int) -> Subscription:
        if current.next is not None:
            self._cancel(current.next, now)
        successor = Subscription(
            external_id=current.external_id,
            customer=current.customer,
            plan=plan,
            billing_time=current.billing_time,
            subscription_at=current.subscription_at,
            created_at=now,
            name=text(body, "name") or current.name,
            previous=current,
        )
        current.next = successor
        self._org.subscriptions[current.external_id].append(successor)
        return successor

    def _cancel(self, subscription: Subscription, now: int) -> None:
        subscription.status, subscription.canceled_at = SubscriptionStatus.CANCELED, now
        if subscription.previous is not None and subscription.previous.next is subscription:
            subscription.previous.next = None
        self._emit("canceled", subscription)

    def _terminate(self, subscription: Subscription, now: int, invoice: str, *, keep_next: bool = False) -> None:
        if subscription.next is not None and not keep_next:
            self._cancel(subscription.next, now)
        while (end := subscription.period(subscription.billed_until).end) <= now:  # over, but the biller has not run
            self._bill_period(subscription, end, now)
        subscription.status, subscription.terminated_at = SubscriptionStatus.TERMINATED, now
        if invoice != "skip":
            # The instant of termination belongs to the subscription, unless a successor takes over.
            period = Period(subscription.billed_until, max(subscription.billed_until, now + (not keep_next)))
            self._invoices.bill(subscription, period, "subscription_terminating", now)
        subscription.billed_until = now
        self._emit("terminated", subscription)

    def _schedule(self, subscription: Subscription) -> None:
        end = subscription.period(subscription.billed_until).end
        self._org.agenda.at(billing_run_after(end), lambda time: self._period_over(subscription, end, time))

    def _period_over(self, subscription: Subscription, end: int, time: int) -> None:
        if subscription.status is not _ACTIVE:
            return
        self._bill_period(subscription, end, time)
        successor = subscription.next
        if successor is None or successor.status is not _PENDING:
            self._schedule(subscription)
            return
        subscription.status, subscription.terminated_at = SubscriptionStatus.TERMINATED, end
        self._emit("terminated", subscription)
        self._start(successor, end, time)

    def _bill_period(self, subscription: Subscription, end: int, time: int) -> None:
        period = Period(subscription.billed_until, end)
        subscription.billed_until = end
        self._invoices.bill(subscription, period, "subscription_periodic", time)

    def _set_end(self, subscription: Subscription, ending_at: int | None) -> None:
        subscription.ending_at = ending_at
        if ending_at is not None:
            self._org.agenda.at(ending_at, lambda time: self._end(subscription, ending_at))

    def _end(self, subscription: Subscription, ending_at: int) -> None:
        if subscription.status is _ACTIVE and subscription.ending_at == ending_at:
            self._terminate(subscription, ending_at, subscription.on_termination_invoice)

    def _emit(self, what: str, subscription: Subscription) -> None:
        self._org.webhooks.emit(
            f"subscription.{what}", "subscription", lambda: views.subscription(subscription, self._org.now())
        )


def _yearly_amount(plan: Plan) -> Decimal:
    return Decimal(plan.amount_cents) * PERIODS_PER_YEAR[plan.interval]


def _check(body: JsonObject, now: int) -> ErrorDetails:
    errors: ErrorDetails = {
        name: [MANDATORY] for name in ("external_customer_id", "plan_code", "external_id") if text(body, name) is None
    }
    if text(body, "billing_time") not in (None, *BillingTime):
        errors["billing_time"] = [INVALID_VALUE]
    for name in ("subscription_at", "ending_at"):
        if body.get(name) is not None and iso_time(body[name]) is None:
            errors[name] = ["invalid_date"]
    ending_at = iso_time(body.get("ending_at"))
    if ending_at is not None and ending_at <= now:
        errors["ending_at"] = ["invalid_date"]
    return errors
