"""Frames as they go over the wire, each encoded once however many clients get it."""

import json
import time
from collections.abc import Hashable
from typing import Any

from polaris_common.clock import to_wire
from polaris_common.energy import kwh_text
from polaris_common.telemetry import MeterTelemetry

METER = "transaction.meter"
PROLOGUE = b"retry: 5000\n\n"


class Frame:
    """One encoded frame. A waiting frame is replaced by a newer one of the same ``key``; events never are."""

    __slots__ = ("_chunk", "encoded", "is_last", "key", "seq")

    def __init__(self, encoded: bytes, *, key: Hashable, seq: int | None = None, is_last: bool = False) -> None:
        """``is_last``: the stream ends after it."""
        self.encoded, self.key, self.seq, self.is_last = encoded, key, seq, is_last
        self._chunk: bytes | None = None

    @property
    def chunk(self) -> bytes:
        """The frame as a chunk of an HTTP/1.1 body, made once for all clients."""
        if self._chunk is None:
            self._chunk = b"%x\r\n%b\r\n" % (len(self.encoded), self.encoded)
        return self._chunk


class LoggedEvent:
    """One numbered domain event of the log."""

    __slots__ = ("_frame", "payload", "seq", "type")

    def __init__(self, seq: int, kind: str, payload: dict[str, Any]) -> None:
        self.seq, self.type, self.payload = seq, kind, payload
        self._frame: Frame | None = None

    @property
    def frame(self) -> Frame:
        """The event as browsers get it."""
        if self._frame is None:
            text = f"id: {self.seq}\nevent: {self.type}\ndata: {compact(self.payload)}\n\n"
            self._frame = Frame(text.encode(), key=self.seq, seq=self.seq)
        return self._frame


def compact(payload: object) -> str:
    """JSON on one line."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def meter_frame(telemetry: MeterTelemetry) -> Frame:
    """What a car draws right now; ``kwh`` is the station's register, ``sessionKwh`` the energy since the start."""
    return Frame(_unnumbered(METER, _meter_json(telemetry)), key=(METER, telemetry.transaction_id))


def heartbeat_frame() -> Frame:
    """Shows the client (and every proxy between) that the stream lives."""
    return Frame(_unnumbered("heartbeat", f'{{"ts":{time.time_ns() // 1_000_000}}}'), key="heartbeat")


def resync(reason: str) -> bytes:
    """Events are gone that the client has not seen: it must load what it shows anew."""
    return _unnumbered("resync", f'{{"reason":"{reason}"}}')


def bye(reason: str) -> bytes:
    """The last frame of a stream that the server ends."""
    return _unnumbered("bye", f'{{"reason":"{reason}"}}')


def retry(seconds: float) -> bytes:
    """How long the client shall wait before it connects again."""
    return f"retry: {round(seconds * 1000)}\n\n".encode()


def position(seq: int) -> bytes:
    """Moves the client's ``Last-Event-ID`` without an event, so that a reconnect resumes from here (WHATWG HTML 9.2.6).

    Nothing for an empty log: 0 is no event id.
    """
    return f"id: {seq}\n\n".encode() if seq > 0 else b""


def _unnumbered(kind: str, json_text: str) -> bytes:
    return f"event: {kind}\ndata: {json_text}\n\n".encode()


def _meter_json(telemetry: MeterTelemetry) -> str:
    register, power, session = telemetry.register_wh, telemetry.power_w, telemetry.session_wh
    fields = {
        "transactionId": _json(telemetry.transaction_id),
        "chargeBoxId": _json(telemetry.charge_box_id),
        "connectorId": _json(telemetry.connector_id),
        "meterTimestamp": _json(to_wire(telemetry.meter_timestamp)),
        "kwh": _thousandth(register),
        "powerKw": _thousandth(power),
        "userMappingId": _json(telemetry.user_mapping_id),
        "sessionId": _json(telemetry.session_id),
        "registerWh": _json(register),
        "sessionWh": _json(session),
        "sessionKwh": None if session is None else _json(kwh_text(session)),
        "endedAt": None if telemetry.ended_at is None else _json(to_wire(telemetry.ended_at)),
    }
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items() if text is not None) + "}"


def _json(value: int | str | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _thousandth(amount: int | None) -> str | None:
    """Wh as kWh or W as kW: a JSON number, exact because it is written as decimal text."""
    return None if amount is None else kwh_text(amount)
