"""What a subscription used in a stretch of time, priced."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from polaris_sim.lago.aggregation import Bucket, buckets
from polaris_sim.lago.event_log import EventLog
from polaris_sim.lago.models import Charge, ChargeModel, Event, Fee, Subscription
from polaris_sim.lago.periods import Period
from polaris_sim.lago.pricing import minor_units, price, to_cents


def within(events: Sequence[Event], period: Period) -> Iterable[Event]:
    """The events of a series that fall into ``period``."""
    return [event for event in events if period.start <= event.timestamp < period.end]


def charge_fees(log: EventLog, subscription: Subscription, period: Period, now: int) -> list[Fee]:
    """One fee per charge, filter and group, also for what was not used."""
    fees: list[Fee] = []
    for charge in subscription.plan.charges:
        events = within(log.of(subscription.external_id, charge.metric.code), period)
        for bucket in buckets(charge, events, log.config.store):
            amount = _amount(charge, bucket, subscription.plan.currency)
            fee = Fee(
                subscription=subscription,
                period=period,
                charge=charge,
                filter=bucket.filter,
                grouped_by=dict(bucket.group),
                units=bucket.units,
                events_count=len(bucket.readings),
                precise_amount=amount,
                amount_cents=to_cents(amount, subscription.plan.currency),
                created_at=now,
            )
            fees.append(fee)
    return fees


def _amount(charge: Charge, bucket: Bucket, currency: str) -> Decimal:
    if charge.model is ChargeModel.DYNAMIC:
        return bucket.precise_amount_cents / minor_units(currency) if bucket.units else Decimal(0)
    properties = bucket.filter.properties if bucket.filter else charge.properties
    return price(charge.model, properties, bucket.units, len(bucket.readings))


def subscription_fee(subscription: Subscription, period: Period, now: int) -> Fee | None:
    """The plan's own amount, by the day when ``period`` is not a whole billing period; None for a free plan."""
    plan = subscription.plan
    if not plan.amount_cents:
        return None
    whole = subscription.period(period.start)
    share = Decimal(min(period.days, whole.days)) / whole.days
    amount = Decimal(plan.amount_cents) / minor_units(plan.currency) * share
    return Fee(
        subscription=subscription,
        period=period,
        charge=None,
        filter=None,
        grouped_by={},
        units=Decimal(1),
        events_count=0,
        precise_amount=amount,
        amount_cents=to_cents(amount, plan.currency),
        created_at=now,
    )
