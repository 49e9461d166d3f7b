"""``/transactions``."""

import csv
import io
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polaris_sim.steve.edge import Edge, ExactRoute, json_text
from polaris_sim.steve.errors import NotFound, ValidationFailed
from polaris_sim.steve.model import Transaction
from polaris_sim.steve.queries import Query, path_id
from polaris_sim.steve.simulator import SteveSimulator

_PERIODS = ("ALL", "TODAY", "LAST_10", "LAST_30", "LAST_90", "FROM_TO")
_CSV_AFTER_CONNECTOR = (
    "id_tag",
    "start_event_timestamp",
    "start_timestamp",
    "start_value",
    "stop_event_actor",
    "stop_event_timestamp",
    "stop_timestamp",
    "stop_value",
    "stop_reason",
)

Test = Callable[[Transaction], bool]


def transaction_routes(simulator: SteveSimulator, edge: Edge) -> list[Route]:
    """The routes on transactions that this version has."""
    transactions, features = _TransactionEndpoints(simulator), simulator.features
    one = "/transactions/{transactionPk}"
    routes: list[Route] = [ExactRoute("/transactions", edge.guarded(transactions.list_transactions), methods=["GET"])]
    if features.csv:
        routes.append(ExactRoute("/transactions/reports/csv", edge.guarded(transactions.report), methods=["GET"]))
    if features.details:
        routes.append(ExactRoute(one, edge.guarded(transactions.details), methods=["GET"]))
    if features.stop:
        routes.append(ExactRoute(one + "/stop", edge.guarded(transactions.stop), methods=["PATCH"]))
    return routes


class _TransactionEndpoints:
    def __init__(self, simulator: SteveSimulator) -> None:
        self._simulator, self._state = simulator, simulator.state

    async def list_transactions(self, request: Request) -> Response:
        """Every transaction that passes all filters, newest id first."""
        query = Query(request.query_params, self._simulator.features)
        if query.flag("returnCSV", default=False):
            raise ValidationFailed
        candidates, tests = self._candidates(query), self._filters(query)
        if tests:
            candidates = (one for one in candidates if all(test(one) for test in tests))
        return json_text(self._simulator.wire.transactions(candidates))

    async def details(self, request: Request) -> Response:
        """One transaction with its meter values by time."""
        transaction = self._find(request)
        query = Query(request.query_params, self._simulator.features)
        energy_only = query.flag("energyValuesOnly", default=True) or not self._simulator.features.energy_values_only
        values = self._state.meter_values_of(transaction)
        if energy_only:
            values = [value for value in values if value.energy_wh() is not None]
        return json_text(self._simulator.wire.details(transaction, values))

    async def stop(self, request: Request) -> Response:
        """Close the transaction in the database only."""
        self._simulator.stop_manually(self._find(request).id)
        return Response()

    async def report(self, request: Request) -> Response:
        """The stopped transactions of a time span, by stop time, ordered by start."""
        query = Query(request.query_params, self._simulator.features)
        since, until = query.date("from", zone_required=True), query.date("to", zone_required=True)
        if since is None or until is None:
            raise ValidationFailed
        found = [
            transaction
            for transaction in self._state.transactions.values()
            if transaction.stops and since <= transaction.stops[-1].stop_timestamp < until
        ]
        found.sort(key=lambda transaction: (transaction.start_timestamp, transaction.id))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["transaction_pk", self._simulator.features.csv_connector_column, *_CSV_AFTER_CONNECTOR])
        writer.writerows(self._csv_row(transaction) for transaction in found)
        return Response(text.getvalue(), media_type="text/csv")

    def _find(self, request: Request) -> Transaction:
        transaction = self._state.transactions.get(path_id(request.path_params["transactionPk"]))
        if transaction is None:
            raise NotFound("There is no transaction with this id")
        return transaction

    def _candidates(self, query: Query) -> Iterable[Transaction]:
        """The smallest indexed set, newest first."""
        types = ("ALL", "ACTIVE", "STOPPED") if self._simulator.features.type_stopped else ("ALL", "ACTIVE")
        wanted, kind = query.integers("transactionPk"), query.choice("type", types, "ALL")
        source = self._state.active if kind == "ACTIVE" else self._state.transactions
        if wanted is None:
            found: Iterable[Transaction] = reversed(source.values())
        else:
            found = [source[pk] for pk in sorted(wanted, reverse=True) if pk in source]
        return (one for one in found if one.stops) if kind == "STOPPED" else found

    def _filters(self, query: Query) -> list[Test]:
        tests: list[Test] = []
        if (boxes := query.texts("chargeBoxId")) is not None:
            tests.append(lambda one: one.charge_box.charge_box_id.casefold() in boxes)
        if (tags := query.texts("ocppIdTag")) is not None:
            tests.append(lambda one: one.tag.id_tag.casefold() in tags)
        if self._simulator.features.user_id:
            if (users := query.integers("userId")) is not None:
                tests.append(lambda one: one.tag.user_pk in users)
            if (connector := query.integer("connectorId")) is not None:
                tests.append(lambda one: one.connector_id == connector)
        return tests + self._period(query)

    def _period(self, query: Query) -> list[Test]:
        """The period filters on the START time, both ends inclusive."""
        period = query.choice("periodType", _PERIODS, "ALL")
        since, until = query.date("from"), query.date("to")
        now = self._simulator.clock.now()
        match period:
            case "ALL":
                return []
            case "FROM_TO":
                if since is None or until is None or until <= since:
                    raise ValidationFailed
            case "TODAY":
                since = now.replace(hour=0, minute=0, second=0, microsecond=0)
                until = since + timedelta(days=1)
            case _:
                since, until = now - timedelta(days=int(period.removeprefix("LAST_"))), now
        return [_starts_within(since, until)]

    def _csv_row(self, transaction: Transaction) -> list[object]:
        stop, time = transaction.stops[-1], self._simulator.wire.time
        return [
            transaction.id,
            transaction.charge_box.charge_box_pk * 100 + transaction.connector_id,
            transaction.tag.id_tag,
            time(transaction.event_timestamp),
            time(transaction.start_timestamp),
            transaction.start_value,
            stop.event_actor,
            time(stop.event_timestamp),
            time(stop.stop_timestamp),
            stop.stop_value,
            stop.stop_reason,
        ]


def _starts_within(since: datetime, until: datetime) -> Test:
    return lambda one: since <= one.start_timestamp <= until
