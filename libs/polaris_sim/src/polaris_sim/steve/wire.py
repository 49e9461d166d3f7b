"""SteVe's JSON: camelCase, nulls present, values as text, dates with milliseconds."""

import json
from collections.abc import Iterable
from datetime import datetime

from polaris_sim.steve.dates import human, iso
from polaris_sim.steve.model import ChargeBox, MeterValue, Tag, Transaction
from polaris_sim.steve.profile import Features


class Wire:
    """Writes rows as one version of SteVe does."""

    def __init__(self, features: Features, zone_offset_hours: float) -> None:
        self._features, self._offset = features, zone_offset_hours

    def time(self, moment: datetime | None) -> str | None:
        """A date, or null."""
        return iso(moment, self._offset) if moment is not None else None

    def tag(self, tag: Tag, parent: Tag | None) -> dict[str, object]:
        """``OcppTagOverview``."""
        row: dict[str, object] = {
            "ocppTagPk": tag.ocpp_tag_pk,
            "idTag": tag.id_tag,
            "userPk": tag.user_pk,
            "parentOcppTagPk": parent.ocpp_tag_pk if parent else None,
            "parentIdTag": tag.parent_id_tag,
            "inTransaction": bool(tag.active_ids),
            "blocked": tag.blocked,
            "expiryDate": self.time(tag.expiry_date),
            "maxActiveTransactionCount": tag.max_active_transaction_count,
            "activeTransactionCount": len(tag.active_ids),
            "note": tag.note,
        }
        if not self._features.user_pk:
            del row["userPk"]
        return row

    def transaction(self, transaction: Transaction) -> str:
        """``Transaction`` as JSON text, kept until the transaction changes."""
        if transaction.json_row is None:
            transaction.json_row = json.dumps(self._transaction_row(transaction), separators=(",", ":"))
        return transaction.json_row

    def transactions(self, transactions: Iterable[Transaction]) -> str:
        """A JSON array of transactions."""
        return f"[{','.join(map(self.transaction, transactions))}]"

    def details(self, transaction: Transaction, values: Iterable[MeterValue]) -> str:
        """``TransactionDetails`` as JSON text."""
        rows = json.dumps([self._meter_value(value) for value in values], separators=(",", ":"))
        return f'{{"transaction":{self.transaction(transaction)},"values":{rows}}}'

    def charge_box(self, box: ChargeBox, now: datetime) -> dict[str, object]:
        """A row of the fork's charge box list."""
        return {
            "chargeBoxId": box.charge_box_id,
            "chargeBoxPk": box.charge_box_pk,
            "description": box.description,
            "ocppProtocol": box.ocpp_protocol,
            "lastHeartbeatTimestamp": human(box.last_heartbeat, now),
        }

    def _transaction_row(self, transaction: Transaction) -> dict[str, object]:
        stop = transaction.stop
        row: dict[str, object] = {
            "id": transaction.id,
            "connectorId": transaction.connector_id,
            "chargeBoxPk": transaction.charge_box.charge_box_pk,
            "ocppTagPk": transaction.tag.ocpp_tag_pk,
            "userId": transaction.tag.user_pk,
            "chargeBoxId": transaction.charge_box.charge_box_id,
            "ocppIdTag": transaction.tag.id_tag,
            "startTimestamp": self.time(transaction.start_timestamp),
            "startValue": transaction.start_value,
            "stopTimestamp": self.time(stop.stop_timestamp) if stop else None,
            "stopValue": stop.stop_value if stop else None,
            "stopReason": stop.stop_reason if stop else None,
            "stopEventActor": stop.event_actor if stop else None,
        }
        if not self._features.user_id:
            del row["userId"]
        return row

    def _meter_value(self, value: MeterValue) -> dict[str, object]:
        return {
            "valueTimestamp": self.time(value.value_timestamp),
            "value": value.value,
            "readingContext": value.reading_context,
            "format": value.format,
            "measurand": value.measurand,
            "location": value.location,
            "unit": value.unit,
            "phase": value.phase,
        }
