"""The hourly ``events.errors`` webhook of the Postgres store."""

from polaris_sim.lago.aggregation import property_text, value_of
from polaris_sim.lago.config import EventStore
from polaris_sim.lago.models import Event, Metric
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.wire import SECOND, JsonObject

_HOUR = 3600 * SECOND
_CHECK_MINUTE = 5 * 60 * SECOND


class EventErrors:
    """Looks, five minutes past each hour, at the events created in the hour before."""

    def __init__(self, organization: Organization) -> None:
        self._org = organization
        self._checked = 0
        self._schedule(organization.now())

    def _schedule(self, after: int) -> None:
        due = after - after % _HOUR + _CHECK_MINUTE
        self._org.agenda.at(due if due > after else due + _HOUR, self._check)

    def _check(self, time: int) -> None:
        self._schedule(time)
        raw, hour_end = self._org.events.raw, time - time % _HOUR
        first = self._checked
        while self._checked < len(raw) and raw[self._checked].created_at < hour_end:
            self._checked += 1
        found = raw[first : self._checked]
        if self._org.config.store is not EventStore.POSTGRES or not found:
            return
        report = self.report(found)
        if any(report.values()):
            self._org.webhooks.emit("events.errors", "events_errors", lambda: report)

    def report(self, events: list[Event]) -> JsonObject:
        """The transaction ids of ``events`` that bill nothing or at the default price, by reason."""
        unknown_code: list[str] = []
        no_value: list[str] = []
        bad_filter: list[str] = []
        for event in events:
            metric = self._org.metrics.get(event.code)
            if metric is None:
                unknown_code.append(event.transaction_id)
                continue
            if value_of(event, metric, self._org.config.store) is None:
                no_value.append(event.transaction_id)
            if self._has_undeclared_value(event, metric):
                bad_filter.append(event.transaction_id)
        return {
            "invalid_code": unknown_code,
            "missing_aggregation_property": no_value,
            "invalid_filter_values": bad_filter,
            "missing_group_key": None,
        }

    def _has_undeclared_value(self, event: Event, metric: Metric) -> bool:
        for key, declared in metric.filters.items():
            value = property_text(event, key, self._org.config.store)
            if value is not None and value not in declared:
                return True
        return False
