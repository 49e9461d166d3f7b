"""SteVe's database in memory, with its constraints and cascades, indexed for 100,000 transactions."""

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from polaris_sim.steve.model import (
    ChargeBox,
    FailedStop,
    MeterValue,
    Reservation,
    Stop,
    Tag,
    Transaction,
    decimal_or_none,
)


class DuplicateTag(Exception):
    """The idTag exists already, or its parent does not: SteVe cannot tell the two apart."""


class ForeignKeyViolation(Exception):
    """The change would leave a tag with a parent that does not exist."""


class SteveState:
    """All rows. Ids only ever grow; idTag and chargeBoxId compare case-insensitively."""

    def __init__(self) -> None:
        self.transactions: dict[int, Transaction] = {}
        """By id, in the order of arrival, which is the order of ids."""
        self.active: dict[int, Transaction] = {}
        self.failed_stops: deque[FailedStop] = deque(maxlen=10_000)
        self.reservations: dict[int, Reservation] = {}
        self.charging_profiles: set[int] = set()
        self.meter_value_count = 0
        self._boxes: dict[str, ChargeBox] = {}
        self._tags: dict[str, Tag] = {}
        self._tags_by_pk: dict[int, Tag] = {}
        self._starts: dict[tuple[object, ...], int] = {}
        self._loose_values: dict[tuple[int, int], list[MeterValue]] = {}
        self._last_ids = {"box": 0, "tag": 0, "transaction": 0, "reservation": 0}

    def charge_boxes(self) -> list[ChargeBox]:
        """All charge boxes in the order they were added."""
        return list(self._boxes.values())

    def charge_box(self, charge_box_id: str) -> ChargeBox | None:
        """The charge box with this id in any case."""
        return self._boxes.get(charge_box_id.casefold())

    def tags(self) -> list[Tag]:
        """All tags in the order they were added."""
        return list(self._tags_by_pk.values())

    def tag(self, id_tag: str) -> Tag | None:
        """The tag with this idTag in any case."""
        return self._tags.get(id_tag.casefold())

    def tag_by_pk(self, ocpp_tag_pk: int) -> Tag | None:
        """The tag with this primary key."""
        return self._tags_by_pk.get(ocpp_tag_pk)

    def add_charge_box(self, charge_box_id: str, *, connectors: int, description: str | None) -> ChargeBox:
        """Insert a charge box; the id must be new."""
        box = ChargeBox(charge_box_id, self._next("box"), connectors, description)
        self._boxes[charge_box_id.casefold()] = box
        return box

    def add_tag(self, id_tag: str, *, parent_id_tag: str | None = None) -> Tag:
        """Insert a tag.

        Raises:
            DuplicateTag: the tag exists, or the parent does not.
        """
        parent = self.tag(parent_id_tag) if parent_id_tag else None
        if self.tag(id_tag) is not None or (parent_id_tag and parent is None):
            raise DuplicateTag(id_tag)
        tag = Tag(id_tag, self._next("tag"), parent_id_tag=parent.id_tag if parent else None)
        self._tags[id_tag.casefold()] = self._tags_by_pk[tag.ocpp_tag_pk] = tag
        return tag

    def set_parent(self, tag: Tag, parent_id_tag: str | None) -> None:
        """Give ``tag`` another parent or none.

        Raises:
            ForeignKeyViolation: there is no such parent.
        """
        parent = self.tag(parent_id_tag) if parent_id_tag else None
        if parent_id_tag and parent is None:
            raise ForeignKeyViolation(f"parent_id_tag {parent_id_tag} does not exist")
        tag.parent_id_tag = parent.id_tag if parent else None

    def delete_tag(self, tag: Tag) -> None:
        """Delete a tag with its transactions and reservations.

        Raises:
            ForeignKeyViolation: the tag is the parent of another.
        """
        if any(child.parent_id_tag == tag.id_tag for child in self._tags_by_pk.values()):
            raise ForeignKeyViolation(f"id_tag {tag.id_tag} is still referenced by parent_id_tag")
        self._delete_transactions(tag.transaction_ids)
        self._drop_reservations(id_tag=tag.id_tag)
        del self._tags[tag.id_tag.casefold()], self._tags_by_pk[tag.ocpp_tag_pk]

    def delete_charge_box(self, box: ChargeBox) -> None:
        """Delete a charge box with its transactions, meter values and reservations."""
        self._delete_transactions(box.transaction_ids)
        self._drop_reservations(charge_box_id=box.charge_box_id)
        for key in [key for key in self._loose_values if key[0] == box.charge_box_pk]:
            del self._loose_values[key]
        del self._boxes[box.charge_box_id.casefold()]

    def start(
        self,
        box: ChargeBox,
        connector_id: int,
        tag: Tag,
        *,
        start_value: str | None,
        timestamp: datetime,
        now: datetime,
    ) -> Transaction:
        """Insert a transaction start; the very same start again returns the transaction that exists."""
        key = (box.charge_box_pk, connector_id, tag.ocpp_tag_pk, timestamp, start_value)
        known = self.transactions.get(self._starts.get(key, 0))
        if known is not None:
            return known
        transaction = Transaction(self._next("transaction"), box, connector_id, tag, now, timestamp, start_value)
        self.transactions[transaction.id] = self.active[transaction.id] = transaction
        self._starts[key] = transaction.id
        box.transaction_ids.add(transaction.id)
        tag.transaction_ids.add(transaction.id)
        tag.active_ids.add(transaction.id)
        self._drop_reservations(charge_box_id=box.charge_box_id, id_tag=tag.id_tag)
        return transaction

    def add_stop(self, transaction: Transaction, stop: Stop) -> None:
        """Insert a stop; the transaction is no longer active and shows this stop."""
        transaction.stops.append(stop)
        transaction.json_row = None
        transaction.tag.active_ids.discard(transaction.id)
        self.active.pop(transaction.id, None)

    def refusal(self, transaction_id: int, stop: Stop) -> str | None:
        """Why a station's stop is refused by 3.12 and newer, or None."""
        transaction = self.transactions.get(transaction_id)
        if transaction is None:
            return "the transaction does not exist"
        if transaction.stopped_by_station:
            return "already stopped by the station"
        if transaction.start_timestamp > stop.stop_timestamp:
            return "the start is after the stop"
        if (stop.stop_timestamp - stop.event_timestamp).total_seconds() > 300:
            return "the stop is in the future"
        start_value, stop_value = decimal_or_none(transaction.start_value), decimal_or_none(stop.stop_value)
        if start_value is not None and stop_value is not None and stop_value < start_value:
            return "the stop value is less than the start value"
        return None

    def add_meter_values(self, transaction: Transaction, values: Iterable[MeterValue]) -> None:
        """Append meter values to a transaction, in any order, duplicates too."""
        before = len(transaction.meter_values)
        transaction.meter_values.extend(values)
        self.meter_value_count += len(transaction.meter_values) - before

    def add_loose_meter_values(self, box: ChargeBox, connector_id: int, values: list[MeterValue]) -> None:
        """Append meter values that name no transaction."""
        self._loose_values.setdefault((box.charge_box_pk, connector_id), []).extend(values)
        self.meter_value_count += len(values)

    def meter_values_of(self, transaction: Transaction) -> list[MeterValue]:
        """Its meter values by time: its own and those of its connector without a transaction in its window.

        A transaction that never stopped ends at the next start on its connector.
        """
        following = self.next_on_connector(transaction)
        end = following.start_timestamp if following else None
        own = transaction.meter_values
        if transaction.stop is None and end is not None:
            own = [value for value in own if value.value_timestamp < end]
        until = transaction.stop.stop_timestamp if transaction.stop else end
        loose = [
            value
            for value in self._loose_values.get((transaction.charge_box.charge_box_pk, transaction.connector_id), ())
            if value.value_timestamp >= transaction.start_timestamp
            and (until is None or value.value_timestamp <= until)
        ]
        return sorted([*own, *loose], key=lambda value: value.value_timestamp)

    def next_on_connector(self, transaction: Transaction) -> Transaction | None:
        """The transaction that starts next on the same connector."""
        later = (self.transactions[other] for other in transaction.charge_box.transaction_ids)
        return min(
            (
                other
                for other in later
                if other.connector_id == transaction.connector_id
                and (other.start_timestamp, other.id) > (transaction.start_timestamp, transaction.id)
            ),
            key=lambda other: (other.start_timestamp, other.id),
            default=None,
        )

    def add_reservation(self, charge_box_id: str, connector_id: int, id_tag: str, expiry: datetime) -> Reservation:
        """Insert a reservation."""
        reservation = Reservation(self._next("reservation"), charge_box_id, connector_id, id_tag, expiry)
        self.reservations[reservation.reservation_id] = reservation
        return reservation

    def energy_wh(self) -> Decimal:
        """The sum of stop − start over all stopped transactions whose values are numbers, in Wh."""
        total = Decimal(0)
        for transaction in self.transactions.values():
            start = decimal_or_none(transaction.start_value)
            stop = decimal_or_none(transaction.stop.stop_value) if transaction.stop else None
            if start is not None and stop is not None:
                total += stop - start
        return total

    def _next(self, kind: str) -> int:
        self._last_ids[kind] += 1
        return self._last_ids[kind]

    def _delete_transactions(self, transaction_ids: set[int]) -> None:
        for transaction_id in list(transaction_ids):
            transaction = self.transactions.pop(transaction_id)
            self.active.pop(transaction_id, None)
            self.meter_value_count -= len(transaction.meter_values)
            transaction.tag.transaction_ids.discard(transaction_id)
            transaction.tag.active_ids.discard(transaction_id)
            transaction.charge_box.transaction_ids.discard(transaction_id)

    def _drop_reservations(self, *, charge_box_id: str | None = None, id_tag: str | None = None) -> None:
        if not self.reservations:
            return
        self.reservations = {
            key: reservation
            for key, reservation in self.reservations.items()
            if (charge_box_id is not None and reservation.charge_box_id != charge_box_id)
            or (id_tag is not None and reservation.id_tag != id_tag)
        }
