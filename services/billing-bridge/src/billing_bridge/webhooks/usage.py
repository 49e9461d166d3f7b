"""Limits of usage that operators set in Lago: the driver hears of each, and some of them stop sessions."""

from billing_bridge.mirror.cards import cards_of, stop_sessions
from billing_bridge.provisioning.repository import AccountRepository
from billing_bridge.webhooks.repository import Claimed
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import Audience, UsageLimitReached
from polaris_common.lago import wire
from polaris_common.lago.inbox import inner


async def tell_limit(uow: UnitOfWork, event: Claimed) -> None:
    """Tell the subscription's driver that a limit is reached; an alert about no subscription concerns none."""
    subscription, customer = event.external_subscription_id, event.external_customer_id
    if subscription is None:
        return
    driver = await AccountRepository(uow).paid_by(customer) if customer else None
    audience = Audience.operators_and(driver)
    uow.emit(UsageLimitReached(audience=audience, subscription=subscription, limit=_limit(event)))


async def stop_where_enforced(uow: UnitOfWork, event: Claimed, subscription: str) -> None:
    """Only an alert that says so stops sessions."""
    alert = wire.nested(event.payload, "alert") or wire.nested(inner(event.payload), "alert")
    enforced = (alert.get("enforce_stop"), wire.nested(alert, "metadata").get("enforce_stop"))
    if any(value is True or value == "true" for value in enforced):
        cards = await cards_of(uow, customer=event.external_customer_id, subscription=subscription)
        await stop_sessions(uow, cards, reason="usage_cap_exceeded")


def _limit(event: Claimed) -> str:
    """What tells one limit from another, so that each is told once a day however often Lago says it."""
    carried = inner(event.payload)
    crossed = [wire.text(each, "value") or "" for each in wire.objects(carried, "crossed_thresholds")]
    threshold = wire.nested(carried, "usage_threshold") or wire.nested(event.payload, "usage_threshold")
    named = wire.text(carried, "alert_code") or wire.text(threshold, "amount_cents") or event.webhook_type
    return ":".join([named, *crossed])
