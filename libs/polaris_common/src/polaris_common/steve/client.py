"""An asynchronous client for SteVe's REST API (3.8 and newer, and the fork), HTTP Basic, sent preemptively."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from polaris_common.http.transport import RETRYABLE_STATUS, create_client, get_with_retries
from polaris_common.settings import SteveSettings
from polaris_common.steve.wire import SteveChargeBox, SteveTag, SteveTransaction

READ_SECONDS = 30.0
PKS_PER_REQUEST = 200
"""Keeps the address of an id query well under 8 KiB."""

FEW_PKS = 10
"""Up to so many ids are asked for one by one where SteVe (before 3.11) takes only one a request."""


class SteveUnavailable(Exception):
    """No answer, or "later": nothing is known about what was asked."""


class SteveProtocolError(Exception):
    """An answer that is no answer of SteVe's API: a redirect, HTML, other JSON."""


class SteveRefused(Exception):
    """SteVe understood and refused."""

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"SteVe answered {status} to {path}")
        self.status = status


class SteveClient:
    """One connection pool to one SteVe."""

    def __init__(self, settings: SteveSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = create_client(
            f"{settings.steve_base_url}/api/v1",
            read_seconds=READ_SECONDS,
            headers={"Accept": "application/json"},
            auth=httpx.BasicAuth(settings.steve_api_username, settings.steve_api_key.get_secret_value()),
            transport=transport,
        )
        self._takes_id_lists = True

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()

    async def active_transactions(self) -> list[SteveTransaction]:
        """Every transaction without a stop.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: as the class says; true of all calls.
        """
        return _transactions(await self._get("/transactions", {"type": "ACTIVE"}))

    async def transactions_by_id(self, ids: Iterable[int]) -> list[SteveTransaction]:
        """The transactions with these ids that exist, in no order."""
        wanted = sorted(set(ids))
        if self._takes_id_lists:
            try:
                return await self._by_ids(wanted, PKS_PER_REQUEST)
            except SteveRefused as refusal:
                if refusal.status != HTTPStatus.BAD_REQUEST or len(wanted) == 1:
                    raise
                self._takes_id_lists = False
        if len(wanted) <= FEW_PKS:
            return await self._by_ids(wanted, 1)
        wanted_set = set(wanted)
        return [transaction for transaction in await self.all_transactions() if transaction.id in wanted_set]

    async def _by_ids(self, wanted: Sequence[int], pks_per_request: int) -> list[SteveTransaction]:
        found: list[SteveTransaction] = []
        for begin in range(0, len(wanted), pks_per_request):
            pks = wanted[begin : begin + pks_per_request]
            found += _transactions(await self._get("/transactions", {"transactionPk": pks, "type": "ALL"}))
        return found

    async def all_transactions(self) -> list[SteveTransaction]:
        """The whole table: for a first sync and a nightly pass."""
        return _transactions(await self._get("/transactions", {"type": "ALL", "periodType": "ALL"}))

    async def tags(self) -> list[SteveTag]:
        """Every OCPP tag."""
        return [_read(SteveTag.read, raw) for raw in _array(await self._get("/ocppTags", {}))]

    async def charge_boxes(self) -> list[SteveChargeBox] | None:
        """Every charge box, or None where SteVe has no such call (only the fork does)."""
        try:
            return [_read(SteveChargeBox.read, raw) for raw in _array(await self._get("/chargeBoxes", {}))]
        except SteveRefused as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def ping(self) -> None:
        """One cheap authenticated call.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: SteVe is away, is not SteVe, or refuses our password.
        """
        await self._get("/transactions", {"transactionPk": [0], "type": "ALL"})

    async def _get(self, path: str, query: dict[str, str | Sequence[int]]) -> Any:
        try:
            response = await get_with_retries(lambda: self._http.get(path, params=httpx.QueryParams(query)))
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe gave no answer to {path} ({type(error).__name__})") from error
        return _body(response, path)


def _body(response: httpx.Response, path: str) -> Any:
    status = response.status_code
    if status in RETRYABLE_STATUS:
        raise SteveUnavailable(f"SteVe answered {status} to {path}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
        raise SteveRefused(status, path)
    is_json = response.headers.get("content-type", "").partition(";")[0].strip() == "application/json"
    if status != HTTPStatus.OK or not is_json:
        raise SteveProtocolError(f"SteVe answered {status} without JSON to {path}")
    try:
        return response.json()
    except ValueError as error:
        raise SteveProtocolError(f"SteVe answered broken JSON to {path}") from error


def _array(body: Any) -> list[dict[str, Any]]:
    if not isinstance(body, list):
        raise SteveProtocolError("SteVe answered something else than a list")
    return body


def _transactions(body: Any) -> list[SteveTransaction]:
    return [_read(SteveTransaction.read, raw) for raw in _array(body)]


def _read(reader: Any, raw: dict[str, Any]) -> Any:
    try:
        return reader(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SteveProtocolError(f"SteVe answered an object we cannot read ({type(error).__name__})") from error
