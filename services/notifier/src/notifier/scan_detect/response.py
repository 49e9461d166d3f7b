"""The streaming answer: lives as long as the pairing, whatever happens to it."""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from notifier.scan_detect.service import Opened, ScanDetect
from notifier.stream.response import HEADERS
from polaris_common.identity.pairings import epoch_ms
from polaris_common.models import PairableType, Pairing, PairingStatus

LOOK_SECONDS = 2.0
"""How often the stream looks for itself, should no notification reach it."""
KEEPALIVE_SECONDS = 15.0


class ScanDetectResponse(Response):
    """One open stream; gives its slot back however it ends."""

    def __init__(self, detect: ScanDetect, opened: Opened, *, address: str, told: bool) -> None:
        """``told``: the client has had the tap before this connection."""
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)
        self._detect, self._opened = detect, opened
        self._address, self._told = address, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the pairing is over or the client leaves."""
        try:
            telling = asyncio.create_task(self._tell(send))
            leaving = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (telling, leaving):
                    task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await telling
                with suppress(asyncio.CancelledError):
                    await leaving
        finally:
            self._detect.slots.give_back(self._address)

    async def _tell(self, send: Send) -> None:
        pairing, watch = self._opened.pairing, self._detect.watch
        over_at = time.monotonic() + self._opened.seconds_left
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _body(send, _event("connected", _connected(pairing, self._opened.seconds_left)))
        quiet_since = time.monotonic()
        with watch.follow(pairing.id) as changed:
            while not watch.stopping:
                changed.clear()
                latest = await self._detect.read(pairing.id)
                frame, last = self._frame(latest)
                if not last and time.monotonic() >= over_at:
                    frame, last = _event("timeout", {"message": "Detection timeout reached"}), True
                if not frame and time.monotonic() - quiet_since >= KEEPALIVE_SECONDS:
                    frame = b": keepalive\n\n"
                if frame:
                    await _body(send, frame)
                    quiet_since = time.monotonic()
                if last:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_SECONDS, max(0.0, over_at - time.monotonic()))):
                        await changed.wait()
        await _body(send, b"", more=False)

    def _frame(self, pairing: Pairing | None) -> tuple[bytes, bool]:
        """What there is to tell, and whether it is the last."""
        if pairing is None:
            return b"", False
        match pairing.status:
            case PairingStatus.MATCHED if not self._told:
                self._told = True
                return b"id: %d\n" % pairing.id + _data(self._detect.tickets.tap(pairing)), False
            case PairingStatus.CONSUMED:
                return b"", True
            case PairingStatus.RELEASED:
                return _cancelled(pairing), True
            case _:
                return b"", False


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(send: Send, chunk: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


def _connected(pairing: Pairing, seconds_left: float) -> dict[str, object]:
    told: dict[str, object] = {
        "pairableType": pairing.pairable_type,
        "pairableId": pairing.target,
        "expiresAtEpochMs": epoch_ms(pairing.expires_at),
        "expiresInSec": max(0, int(seconds_left)),
    }
    return told | ({"chargeBoxId": pairing.target} if pairing.pairable_type == PairableType.CHARGER else {})


def _cancelled(pairing: Pairing) -> bytes:
    cancelled_at = time.time_ns() // 1_000_000
    source = pairing.released_by or "customer"
    return _event("cancelled", {"pairingCode": pairing.code, "cancelledAt": cancelled_at, "source": source})


def _event(kind: str, data: Mapping[str, object]) -> bytes:
    return f"event: {kind}\n".encode() + _data(data)


def _data(data: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(data, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()
