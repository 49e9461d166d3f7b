"""Delivered ↔ Lago: one subscription's running period compared, and where it differs, event by event (lago.md §5).

Lago is asked between units of work, never in one. While the two sides are read, energy goes on being delivered: what
we sent is read before Lago's events, and what Lago has and we did not send after them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from polaris_common.books.event_diff import (
    EventDiff,
    EventValue,
    Stored,
    diff_events,
    newest,
    sent_value,
    stored,
    wh_of,
)
from polaris_common.books.three_way import SIGNED_WH, Difference, Kind, Payer, difference_of
from polaris_common.db import Database
from polaris_common.lago import LagoClient, LagoNotFound, wire

MAX_CONFIRMATIONS = 100
"""Lost events that Lago is asked about one by one: a list that shifts while it is paged may skip some."""

# Only late energy is stamped otherwise than with its own time; the stamp itself decides.
# ruff: noqa: S608 - what is put into the statement is our own
_DELIVERED = text(f"""
SELECT e.transaction_id, {SIGNED_WH} AS wh, e.body::json->>'timestamp' AS stamp
FROM energy_slices a JOIN lago_events e ON e.slice_id = a.id
WHERE a.subscription_external_id = :subscription AND e.status = 'delivered'
  AND (a.ended_at >= CAST(:since AS timestamptz) OR a.late OR e.restamped_at IS NOT NULL)
  AND (e.body::json->>'timestamp')::numeric >= extract(epoch FROM CAST(:since AS timestamptz))
  AND (e.body::json->>'timestamp')::numeric < extract(epoch FROM CAST(:until AS timestamptz))
""")

_OURS = text("SELECT transaction_id FROM lago_events WHERE transaction_id = ANY(CAST(:ids AS text[]))")


@dataclass(frozen=True)
class Counted:
    """What Lago counts for a subscription in its running period, ``since`` … before ``until``."""

    wh: int
    events: int
    since: datetime
    until: datetime


class UsageUnreadable(Exception):
    """Lago's usage does not say what it is about."""


def counted(usage: dict[str, Any], metric_code: str) -> Counted:
    """Read ``current_usage``. Lago names the last second of the period; the period lasts to that second's end.

    Raises:
        UsageUnreadable: it does not say which period it counts.
    """
    since, last = wire.moment(usage, "from_datetime"), wire.moment(usage, "to_datetime")
    if since is None or last is None:
        raise UsageUnreadable("current_usage without from_datetime and to_datetime")
    charges = [
        charge
        for charge in wire.objects(usage, "charges_usage")
        if wire.text(wire.nested(charge, "billable_metric"), "code") == metric_code
    ]
    units = sum((wire.decimal(charge, "units") or Decimal(0) for charge in charges), Decimal(0))
    events = sum(wire.whole(charge, "events_count") or 0 for charge in charges)
    return Counted(wh_of(units), events, since, after_second(last))


def after_second(moment: datetime) -> datetime:
    """The end of the second that ``moment`` is in."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)


class LagoCheck:
    """Compares what Lago has accepted from us with what it counts."""

    def __init__(self, database: Database, lago: LagoClient, *, metric_code: str) -> None:
        self._database, self._lago, self._metric_code = database, lago, metric_code

    async def compare(self, payer: Payer) -> list[Difference]:
        """What differs in the running period of one subscription.

        Raises:
            LagoUnavailable, LagoRefused, UsageUnreadable: nothing is known.
        """
        usage = await self._usage(payer)
        sent = await self._delivered(payer, usage)
        if _shown(sent.values()) == usage.wh and len(sent) == usage.events:
            return []
        listed = await self._stored(payer, usage)
        diff = diff_events(sent, listed, await self._known([each.transaction_id for each in listed]))
        await self._confirm_missing(payer, diff)
        found = (
            (Kind.MISSING_IN_LAGO, diff.missing),
            (Kind.EXTRA_IN_LAGO, diff.extra),
            (Kind.VALUE_DIFFERS, diff.differing),
        )
        differences = [difference_of(kind, payer.subscription, by_event) for kind, by_event in found if by_event]
        return differences or await self._miscounted(payer, usage, listed)

    async def _miscounted(self, payer: Payer, usage: Counted, listed: Sequence[Stored]) -> list[Difference]:
        """Lago's usage against Lago's own events, unless more of them arrived meanwhile."""
        off_by = _shown(newest(listed).values()) - usage.wh
        if not off_by or await self._usage(payer) != usage:
            return []
        return [Difference(Kind.USAGE_DIFFERS, f"subscription:{payer.subscription}", off_by, payer.subscription)]

    async def _usage(self, payer: Payer) -> Counted:
        return counted(await self._lago.current_usage(payer.customer, payer.subscription), self._metric_code)

    async def _stored(self, payer: Payer, usage: Counted) -> list[Stored]:
        """Lago's events of the period, the newest arrival first."""
        listed = [
            stored(raw)
            async for raw in self._lago.events(
                subscription=payer.subscription, code=self._metric_code, since=usage.since, until=usage.until
            )
        ]
        end_ms = usage.until.timestamp() * 1000
        return [each for each in listed if each is not None and each.value.at_ms < end_ms]

    async def _confirm_missing(self, payer: Payer, diff: EventDiff) -> None:
        for transaction_id in sorted(diff.missing)[:MAX_CONFIRMATIONS]:
            try:
                event = await self._lago.event(transaction_id)
            except LagoNotFound:
                continue
            if wire.text(event, "external_subscription_id") == payer.subscription:
                del diff.missing[transaction_id]

    async def _delivered(self, payer: Payer, usage: Counted) -> dict[str, EventValue]:
        values = {"subscription": payer.subscription, "since": usage.since, "until": usage.until}
        async with self._database.unit_of_work() as uow:
            rows = (await uow.execute(_DELIVERED, values)).all()
        return {row.transaction_id: sent_value(row.wh, row.stamp) for row in rows}

    async def _known(self, ids: Sequence[str]) -> Collection[str]:
        async with self._database.unit_of_work() as uow:
            return set((await uow.execute(_OURS, {"ids": list(ids)})).scalars())


def _shown(values: Iterable[EventValue]) -> int:
    """The Wh that Lago shows for such events: never less than nothing."""
    return max(sum(value.wh for value in values), 0)
