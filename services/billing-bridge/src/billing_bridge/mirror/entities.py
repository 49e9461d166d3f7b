"""What is mirrored: for each kind of object how it is read, how it becomes a row, and how its absence is confirmed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polaris_common.lago import LagoClient, LagoNotFound, wire
from polaris_common.lago.client import SUBSCRIPTION_STATUSES
from polaris_common.models import (
    LagoBillableMetric,
    LagoCustomer,
    LagoFee,
    LagoInvoice,
    LagoPlan,
    LagoSubscription,
    LagoWallet,
    MirroredFromLago,
)

Raw = Mapping[str, Any]
Row = dict[str, Any]


class NotMirrorable(Exception):
    """An object without the ids that make it one; it is skipped and reported."""


@dataclass(frozen=True)
class Current:
    """What Lago says now about one object: what it found, and whether the object itself is confirmed to be gone."""

    found: list[Raw] = field(default_factory=list)
    gone: bool = False


@dataclass(frozen=True)
class Entity:
    """One kind of mirrored object."""

    name: str
    model: type[MirroredFromLago]
    key: str
    """The column that Lago's route for one object takes."""
    row: Callable[[Raw], Row]
    ask: Callable[[LagoClient, str, str], Awaitable[Current]]
    """``ask(lago, lago_id, key)``: read one object."""
    payload_tells: bool = True
    """Whether another payload is a change; not where lists show less than single reads do."""


def _customer(raw: Raw) -> Row:
    return {
        **_common(raw, moment=wire.moment(raw, "updated_at") or wire.moment(raw, "created_at")),
        "external_id": _id(raw, "external_id"),
        "name": wire.text(raw, "name") or _full_name(raw),
        "email": wire.text(raw, "email"),
        "currency": wire.text(raw, "currency"),
        "timezone": wire.text(raw, "applicable_timezone") or wire.text(raw, "timezone") or "UTC",
    }


def _full_name(raw: Raw) -> str | None:
    return " ".join(filter(None, (wire.text(raw, "firstname"), wire.text(raw, "lastname")))) or None


def _subscription(raw: Raw) -> Row:
    """Lago tells no time of the last change; a status only moves on, and each step leaves its moment."""
    names = ("created_at", "started_at", "canceled_at", "terminated_at")
    moments = [moment for name in names if (moment := wire.moment(raw, name)) is not None]
    return {
        **_common(raw, moment=max(moments, default=None), without=("plan", "customer")),
        "external_id": _id(raw, "external_id"),
        "external_customer_id": _id(raw, "external_customer_id"),
        "plan_code": wire.text(raw, "plan_code") or "",
        "status": wire.text(raw, "status") or "unknown",
        "started_at": wire.moment(raw, "started_at"),
        "terminated_at": wire.moment(raw, "terminated_at"),
        "ending_at": wire.moment(raw, "ending_at"),
        "period_started_at": wire.moment(raw, "current_billing_period_started_at"),
        "period_ending_at": wire.moment(raw, "current_billing_period_ending_at"),
    }


def _plan(raw: Raw) -> Row:
    codes = (wire.text(charge, "billable_metric_code") for charge in wire.objects(raw, "charges"))
    return {
        **_common(raw, moment=None),
        "code": _id(raw, "code"),
        "name": wire.text(raw, "name"),
        "interval": wire.text(raw, "interval"),
        "amount_cents": wire.whole(raw, "amount_cents"),
        "currency": wire.text(raw, "amount_currency"),
        "metric_codes": sorted({code for code in codes if code}),
    }


def _metric(raw: Raw) -> Row:
    return {
        **_common(raw, moment=None),
        "code": _id(raw, "code"),
        "name": wire.text(raw, "name"),
        "aggregation_type": wire.text(raw, "aggregation_type") or "unknown",
        "field_name": wire.text(raw, "field_name"),
        "recurring": wire.flag(raw, "recurring"),
    }


def _invoice(raw: Raw) -> Row:
    return {
        **_common(raw, moment=wire.moment(raw, "updated_at"), without=("fees",)),
        "number": wire.text(raw, "number"),
        "external_customer_id": wire.text(wire.nested(raw, "customer"), "external_id")
        or wire.text(raw, "external_customer_id"),
        "status": wire.text(raw, "status") or "unknown",
        "payment_status": wire.text(raw, "payment_status"),
        "invoice_type": wire.text(raw, "invoice_type"),
        "total_amount_cents": wire.whole(raw, "total_amount_cents"),
        "currency": wire.text(raw, "currency"),
        "issuing_date": wire.day(raw, "issuing_date"),
        "payment_overdue": wire.flag(raw, "payment_overdue"),
    }


def _fee(raw: Raw) -> Row:
    item = wire.nested(raw, "item")
    return {
        **_common(raw, moment=None),
        "invoice_lago_id": _id(raw, "lago_invoice_id"),
        "external_subscription_id": wire.text(raw, "external_subscription_id"),
        "item_code": wire.text(item, "code"),
        "item_name": wire.text(item, "invoice_display_name") or wire.text(item, "name"),
        "units": wire.decimal(raw, "units"),
        "amount_cents": wire.whole(raw, "amount_cents"),
        "currency": wire.text(raw, "amount_currency"),
    }


def _wallet(raw: Raw) -> Row:
    return {
        **_common(raw, moment=None),
        "external_customer_id": wire.text(raw, "external_customer_id"),
        "status": wire.text(raw, "status"),
        "currency": wire.text(raw, "currency"),
        "balance_cents": wire.whole(raw, "balance_cents"),
    }


def _common(raw: Raw, *, moment: datetime | None, without: tuple[str, ...] = ()) -> Row:
    payload = {key: value for key, value in raw.items() if key not in without}
    return {"lago_id": _id(raw, "lago_id"), "payload": wire.storable(payload), "lago_updated_at": moment}


def _id(raw: Raw, key: str) -> str:
    found = wire.text(raw, key)
    if found is None:
        raise NotMirrorable(key)
    return found


async def _ask_one(read: Awaitable[Raw], lago_id: str, *, unique: bool = False) -> Current:
    """One read. ``unique``: one object has the key at a time, so another one there means that ours is gone."""
    try:
        raw = await read
    except LagoNotFound:
        return Current(gone=True)
    return Current([raw], gone=unique and wire.text(raw, "lago_id") not in (None, lago_id))


async def _ask_subscription(lago: LagoClient, lago_id: str, external_id: str) -> Current:
    """A subscription in whatever status: several share an external id, and Lago shows one of each status."""
    found: list[Raw] = []
    for status in SUBSCRIPTION_STATUSES:
        try:
            found.append(await lago.subscription(external_id, status=status))
        except LagoNotFound:
            continue
    return Current(found, gone=not found)


CUSTOMER = Entity(
    "customer",
    LagoCustomer,
    "external_id",
    _customer,
    lambda lago, lago_id, key: _ask_one(lago.customer(key), lago_id, unique=True),
)
SUBSCRIPTION = Entity("subscription", LagoSubscription, "external_id", _subscription, _ask_subscription)
PLAN = Entity(
    "plan", LagoPlan, "code", _plan, lambda lago, lago_id, key: _ask_one(lago.plan(key), lago_id, unique=True)
)
METRIC = Entity(
    "billable_metric",
    LagoBillableMetric,
    "code",
    _metric,
    lambda lago, lago_id, key: _ask_one(lago.billable_metric(key), lago_id, unique=True),
)
INVOICE = Entity(
    "invoice",
    LagoInvoice,
    "lago_id",
    _invoice,
    lambda lago, lago_id, key: _ask_one(lago.invoice(key), lago_id),
    payload_tells=False,
)
FEE = Entity("fee", LagoFee, "lago_id", _fee, lambda lago, lago_id, key: _ask_one(lago.fee(key), lago_id))
WALLET = Entity(
    "wallet", LagoWallet, "lago_id", _wallet, lambda lago, lago_id, key: _ask_one(lago.wallet(key), lago_id)
)
ENTITIES = (CUSTOMER, SUBSCRIPTION, PLAN, METRIC, INVOICE, FEE, WALLET)
