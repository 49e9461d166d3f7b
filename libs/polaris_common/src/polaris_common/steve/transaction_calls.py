"""SteVe's calls on transactions.

Every function raises ``SteveUnavailable``, ``SteveProtocolError`` or ``SteveRefused``; nothing is concluded then.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any

from polaris_common.clock import to_wire
from polaris_common.steve.client import SteveClient, SteveProtocolError, SteveRefused
from polaris_common.steve.wire import (
    SteveReading,
    SteveReportedStop,
    SteveTransaction,
    SteveTransactionDetail,
    SteveTransactions,
    read_time,
)

PKS_PER_REQUEST = 200
"""Keeps the address of an id query well under 8 KiB."""

EVERYTHING = {"type": "ALL", "periodType": "ALL"}
_REPORT_COLUMNS = ("transaction_pk", "stop_timestamp", "stop_value", "stop_event_actor")

LAST_30_DAYS = {"type": "ALL", "periodType": "LAST_30"}
"""By start time; never enough by itself."""


async def active_transactions(steve: SteveClient) -> SteveTransactions:
    """Every transaction without a stop."""
    return _transactions(await steve.read("/transactions", {"type": "ACTIVE"}))


async def transactions_by_id(steve: SteveClient, ids: Iterable[int], *, id_lists: bool) -> SteveTransactions:
    """The transactions with these ids that exist, in no order; ``id_lists``: many ids a request are understood."""
    wanted, found = sorted(set(ids)), SteveTransactions()
    step = PKS_PER_REQUEST if id_lists else 1
    for begin in range(0, len(wanted), step):
        pks = wanted[begin : begin + step]
        found.add(_transactions(await steve.read("/transactions", {"transactionPk": pks, "type": "ALL"})))
    return found


@asynccontextmanager
async def streamed_transactions(
    steve: SteveClient, period: Mapping[str, str]
) -> AsyncIterator[AsyncIterator[SteveTransactions]]:
    """The whole table, or a period by start time, newest id first, some at a time.

    SteVe's answer is closed at the end of the block, also when it was not read to its own end.
    """
    async with aclosing(steve.stream("/transactions", period)) as portions:
        yield (SteveTransactions.read(rows) async for rows in portions)


async def transaction_detail(steve: SteveClient, transaction_id: int) -> SteveTransactionDetail | None:
    """One transaction with all its readings (3.12: of energy only), or None when SteVe has no such transaction."""
    try:
        body = await steve.read(f"/transactions/{transaction_id}", {"energyValuesOnly": "false"})
    except SteveRefused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    try:
        transaction = SteveTransaction.read(body["transaction"])
        return SteveTransactionDetail(transaction, [SteveReading.read(raw) for raw in body["values"]])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SteveProtocolError(f"SteVe answered a detail we cannot read ({type(error).__name__})") from error


async def stop_report(steve: SteveClient, since: datetime, until: datetime) -> list[SteveReportedStop]:
    """The stops of a time span by stop time: ``since`` included, ``until`` not (3.12 and newer).

    A line that cannot be read hides no other; it is left to the nightly pass.
    """
    response = await steve.answer("GET", "/transactions/reports/csv", {"from": to_wire(since), "to": to_wire(until)})
    if not response.headers.get("content-type", "").startswith("text/csv"):
        raise SteveProtocolError(f"SteVe answered {response.status_code} without CSV to the report by stop time")
    try:
        return list(filter(None, map(_reported, csv.DictReader(io.StringIO(response.text)))))
    except (KeyError, csv.Error) as error:
        raise SteveProtocolError(f"SteVe answered a report we cannot read ({type(error).__name__})") from error


def _transactions(body: Any) -> SteveTransactions:
    if not isinstance(body, list):
        raise SteveProtocolError("SteVe answered something else than a list")
    return SteveTransactions.read(body)


def _reported(line: Mapping[str, str]) -> SteveReportedStop | None:
    """The stop in a line; None where there is none, however SteVe writes that."""
    number, stopped_at, value, actor = (line[name] for name in _REPORT_COLUMNS)
    try:
        return SteveReportedStop(int(number), read_time(stopped_at), value, actor or None)
    except (TypeError, ValueError, OverflowError):
        return None
