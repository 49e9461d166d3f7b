"""What the hooks' bodies may hold."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.ocpp.schemas import InvalidBody, InvalidJson, parse_meter_values, parse_tap
from polaris_common.charging.samples import Sample, power_w

BODY: dict[str, Any] = {
    "chargeBoxId": " CP-1 ",
    "transactionPk": 7,
    "connectorId": 1,
    "timestamp": "2026-03-01T12:05:00.123Z",
    "samples": [{"value": "1500", "measurand": "Energy.Active.Import.Register", "unit": None}],
}


def _with(**changes: Any) -> bytes:
    return json.dumps(BODY | changes).encode()


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in BODY.items() if key != name}).encode()


def test_a_meter_value_is_read_with_its_names_trimmed_and_absent_labels_empty() -> None:
    values = parse_meter_values(_with())

    assert (values.transaction_id, values.charge_box_id, values.connector_id) == (7, "CP-1", 1)
    assert values.sampled_at == datetime(2026, 3, 1, 12, 5, 0, 123_000, UTC)
    assert values.samples == (Sample("1500", "Energy.Active.Import.Register"),)


def test_a_missing_connector_means_the_whole_charge_box() -> None:
    assert parse_meter_values(_without("connectorId")).connector_id == 0
    assert parse_meter_values(_with(connectorId=None)).connector_id == 0


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T13:05:00.123+01:00", "2026-03-01T12:05:00.123000", "2026-03-01t12:05:00.123Z"],
)
def test_a_time_may_have_any_offset_and_is_utc_without_one(text: str) -> None:
    assert parse_meter_values(_with(timestamp=text)).sampled_at == datetime(2026, 3, 1, 12, 5, 0, 123_000, UTC)


@pytest.mark.parametrize("name", ["chargeBoxId", "transactionPk", "timestamp", "samples"])
def test_a_missing_field_is_refused(name: str) -> None:
    with pytest.raises(InvalidBody):
        parse_meter_values(_without(name))


@pytest.mark.parametrize(
    "changes",
    [
        {"chargeBoxId": "  "},
        {"chargeBoxId": 5},
        {"chargeBoxId": "CP\x00"},
        {"chargeBoxId": "CP\ud800"},
        {"chargeBoxId": "C" * 256},
        {"transactionPk": 0},
        {"transactionPk": -1},
        {"transactionPk": 2**63},
        {"transactionPk": 7.0},
        {"transactionPk": "7"},
        {"transactionPk": True},
        {"transactionPk": float("nan")},
        {"transactionPk": float("inf")},
        {"connectorId": 2**31},
        {"connectorId": -1},
        {"connectorId": "1"},
        {"connectorId": False},
        {"timestamp": "yesterday at noon"},
        {"timestamp": "2026-03-01"},
        {"timestamp": "2026-13-01T12:00:00Z"},
        {"timestamp": "1969-12-31T23:59:59Z"},
        {"timestamp": "2200-01-01T00:00:00Z"},
        {"timestamp": "0001-01-01T00:00:00+10:00"},
        {"timestamp": "9999-12-31T23:59:59-10:00"},
        {"timestamp": 1_767_225_600},
        {"timestamp": "2" * 1000},
        {"samples": []},
        {"samples": {}},
        {"samples": [None]},
        {"samples": [{}]},
        {"samples": [{"value": 1500}]},
        {"samples": [{"value": None}]},
        {"samples": [{"value": "1\x005"}]},
        {"samples": [{"value": "1", "unit": 5}]},
        {"samples": [{"value": "1", "context": "a\x00"}]},
        {"samples": [{"value": "1", "phase": "\udfff"}]},
        {"samples": [{"value": "1", "measurand": "m" * 65}]},
        {"samples": [*BODY["samples"], "x"]},
    ],
)
def test_what_a_column_cannot_hold_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidBody):
        parse_meter_values(_with(**changes))


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"5", b"NaN", b"true", b"1" * 5000, b"{}"])
@pytest.mark.parametrize("parse", [parse_meter_values, parse_tap])
def test_json_that_is_no_object_of_ours_is_refused(parse: Any, body: bytes) -> None:
    with pytest.raises(InvalidBody):
        parse(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{}", b"[" * 60_000, b"{'a': 1}", '{"a":1}'.encode("utf-16")])
@pytest.mark.parametrize("parse", [parse_meter_values, parse_tap])
def test_what_is_not_json_is_told_apart(parse: Any, body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse(body)


@pytest.mark.parametrize("changes", [{"idTag": " "}, {"idTag": 5}, {"chargeBoxId": None}, {"idTag": "\x00"}])
def test_a_tap_needs_a_tag_and_a_charge_box(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidBody):
        parse_tap(json.dumps({"idTag": "04A1", "chargeBoxId": "CP-1"} | changes).encode())


def test_only_the_word_true_makes_a_tap_a_start() -> None:
    taps = [{"idTag": "04A1", "chargeBoxId": "CP-1", "isStartTx": value} for value in (True, False, None, 1, "true")]

    assert [parse_tap(json.dumps(tap).encode()).is_start for tap in taps] == [True, False, False, False, False]


@pytest.mark.parametrize("value", ["1e999999", "1e99999999999", "-1e999999", "NaN", "Infinity", "sNaN", "", "1" * 5000])
def test_an_absurd_power_is_no_power_and_costs_nothing(value: str) -> None:
    began = time.perf_counter()

    assert power_w([Sample(value, "Power.Active.Import", "kW")]) is None
    assert time.perf_counter() - began < 0.05
