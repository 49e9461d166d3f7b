"""The two event stores of Lago: what they accept, refuse and overwrite."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from polaris_sim.lago.config import EventStore, LagoConfig
from polaris_sim.lago.errors import ALREADY_EXISTS, MANDATORY, BadRequest, ErrorDetails, Invalid
from polaris_sim.lago.models import Event
from polaris_sim.lago.wire import JsonObject, mapping, new_id, text, unix_time

SeriesKey = tuple[str | None, str]
_Key = tuple[object, ...]


@dataclass
class _Slot:
    """Where the event that counts for a key stands in its series."""

    series: list[Event]
    index: int


@dataclass
class EventLog:
    """Every accepted event, raw and by (subscription, code)."""

    config: LagoConfig
    raw: list[Event] = field(default_factory=list)
    series: dict[SeriesKey, list[Event]] = field(default_factory=dict)
    refused_duplicates: int = 0
    overwritten: int = 0

    def __post_init__(self) -> None:
        self._slots: dict[_Key, _Slot] = {}
        self._by_subscription: dict[str | None, list[Event]] = {}
        self._by_transaction: dict[str, list[Event]] = {}

    def accept(self, item: object, now: int) -> Event:
        """Store one event.

        Raises:
            BadRequest: ``item`` is not an object.
            Invalid: a field is missing or malformed, or (Postgres) the event is known.
        """
        if not isinstance(item, dict) or not item:
            raise BadRequest("param is missing or the value is empty: event")
        event, errors = self._read(item, now)
        if errors:
            raise Invalid(errors)
        if self._is_known(event):
            self.refused_duplicates += 1
            raise Invalid({"transaction_id": [ALREADY_EXISTS]})
        self._store(event)
        return event

    def accept_batch(self, items: object, now: int) -> list[Event]:
        """Store all events or none (fact 4).

        Raises:
            Invalid: there are none, too many, or one is refused; the errors are keyed by index.
        """
        if not isinstance(items, list) or not items:
            raise Invalid({"events": ["no_events"]})
        if len(items) > self.config.batch_limit:
            raise Invalid({"events": ["too_many_events"]})
        accepted: list[Event] = []
        errors: dict[str, ErrorDetails] = {}
        ids: set[str] = set()
        postgres = self.config.store is EventStore.POSTGRES
        for index, item in enumerate(items):
            event, wrong = self._read(item if isinstance(item, dict) else {}, now)
            if not wrong and postgres and (event.transaction_id in ids or self._is_known(event)):
                self.refused_duplicates += 1
                wrong = {"transaction_id": [ALREADY_EXISTS]}
            ids.add(event.transaction_id)
            if wrong:
                errors[str(index)] = wrong
            else:
                accepted.append(event)
        if errors and not self.config.partial_batches:
            raise Invalid(errors)
        for event in accepted:
            self._store(event)
        if errors:
            raise Invalid(errors)
        return accepted

    def switch(self, store: EventStore) -> None:
        """Continue with the other store, which judges all events accepted so far by its own key."""
        if store is self.config.store:
            return
        self.config.store = store
        self.replace(self.raw)

    def replace(self, events: Iterable[Event]) -> None:
        """Have these events, in the order of their arrival, and no others: what a store has lost or spoiled."""
        arrived = list(events)
        self.raw = []
        for index in (self.series, self._slots, self._by_subscription, self._by_transaction):
            index.clear()
        for event in arrived:
            if not self._is_known(event):
                self._store(event)

    def of(self, external_subscription_id: str, code: str) -> Sequence[Event]:
        """The events that count for one subscription and metric, each key once."""
        return self.series.get((external_subscription_id, code), ())

    def raw_of(self, external_subscription_id: str) -> Sequence[Event]:
        """The raw events of one subscription in the order of arrival."""
        return self._by_subscription.get(external_subscription_id, ())

    def with_transaction_id(self, transaction_id: str) -> Event | None:
        """Some event with that id."""
        events = self._by_transaction.get(transaction_id)
        return events[0] if events else None

    def repeated_transaction_ids(self) -> int:
        """How many transaction ids stand behind more than one event that counts."""
        seen: dict[str, int] = {}
        for events in self.series.values():
            for event in events:
                seen[event.transaction_id] = seen.get(event.transaction_id, 0) + 1
        return sum(1 for times in seen.values() if times > 1)

    def counted(self) -> Iterable[tuple[SeriesKey, list[Event]]]:
        """Every series of events that count."""
        return self.series.items()

    def _read(self, item: JsonObject, now: int) -> tuple[Event, ErrorDetails]:
        errors: ErrorDetails = {
            name: [MANDATORY] for name in ("transaction_id", "code") if item.get(name) in (None, "")
        }
        timestamp: int | None = now
        if item.get("timestamp") is not None:
            timestamp = unix_time(item["timestamp"])
            if timestamp is None:
                errors["timestamp"] = ["invalid_format"]
        event = Event(
            transaction_id=text(item, "transaction_id") or "",
            external_subscription_id=text(item, "external_subscription_id"),
            code=text(item, "code") or "",
            timestamp=timestamp or 0,
            properties=mapping(item, "properties"),
            precise_total_amount_cents=_precise(item.get("precise_total_amount_cents")),
            created_at=now,
            lago_id=new_id() if self.config.store is EventStore.POSTGRES else None,
        )
        return event, errors

    def _key(self, event: Event) -> _Key | None:
        subscription, transaction = event.external_subscription_id, event.transaction_id
        if self.config.store is EventStore.POSTGRES:
            return None if subscription is None else (subscription, transaction)
        return (subscription, event.code, transaction, event.timestamp // 1000)

    def _is_known(self, event: Event) -> bool:
        return self.config.store is EventStore.POSTGRES and self._key(event) in self._slots

    def _store(self, event: Event) -> None:
        self.raw.append(event)
        self._by_subscription.setdefault(event.external_subscription_id, []).append(event)
        self._by_transaction.setdefault(event.transaction_id, []).append(event)
        key = self._key(event)
        slot = self._slots.get(key) if key is not None else None
        if slot is not None:
            slot.series[slot.index] = event
            self.overwritten += 1
            return
        series = self.series.setdefault((event.external_subscription_id, event.code), [])
        if key is not None:
            self._slots[key] = _Slot(series, len(series))
        series.append(event)


def _precise(value: object) -> str | None:
    return format(value, "f") if isinstance(value, Decimal) else None if value is None else str(value)
