"""An asynchronous client for SteVe's REST API (3.8 and newer, and the fork), HTTP Basic, sent preemptively."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

import httpx
import ijson

from polaris_common.http.transport import RETRYABLE_STATUS, create_client, get_with_retries
from polaris_common.interruption import stop_if_asked, unless_interrupted
from polaris_common.settings import SteveSettings
from polaris_common.steve.wire import SteveChargeBox, SteveTag

READ_SECONDS = 30.0
WHOLE_TABLE_SECONDS = 300.0
"""SteVe builds a whole table in memory before its first byte."""

STREAM_BATCH = 1_000
MAX_SENTENCE = 200

REFUSALS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class SteveUnavailable(Exception):
    """No answer, or "later": nothing is known about what was asked."""


class SteveProtocolError(Exception):
    """An answer that is no answer of SteVe's API: a redirect, HTML, other JSON."""


class SteveRefused(Exception):
    """SteVe understood and refused."""

    def __init__(self, status: int, path: str, said: str | None = None) -> None:
        super().__init__(f"SteVe answered {status} to {path}")
        self.status = status
        self.said = said
        """SteVe's sentence, for people; it decides nothing."""


class SteveClient:
    """One connection pool to one SteVe.

    Work that is interrupted (``polaris_common.interruption``) asks SteVe nothing more, and waits for no answer but that
    of a write: every call then raises ``Interrupted``.
    """

    def __init__(self, settings: SteveSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = create_client(
            f"{settings.steve_base_url}/api/v1",
            read_seconds=READ_SECONDS,
            headers={"Accept": "application/json"},
            auth=httpx.BasicAuth(settings.steve_api_username, settings.steve_api_key.get_secret_value()),
            transport=transport,
        )

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()

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
            async with unless_interrupted():
                response = await get_with_retries(lambda: self._http.get(path, params=httpx.QueryParams(query)))
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe gave no answer to {path} ({type(error).__name__})") from error
        return _body(response, path)

    async def read(self, path: str, query: dict[str, str | Sequence[int]] | None = None) -> Any:
        """The JSON that a GET answers; repeated while the answer is lost or says "later"."""
        return await self._get(path, query or {})

    async def write(
        self, method: str, path: str, body: Mapping[str, Any], *, read_seconds: float = READ_SECONDS
    ) -> Any:
        """The JSON that a writing call answers. Sent once: after ``SteveUnavailable`` it may have happened or not."""
        stop_if_asked()
        timeout = httpx.Timeout(read_seconds, connect=5.0, pool=5.0)
        try:
            response = await self._http.request(method, path, json=dict(body), timeout=timeout)
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe gave no answer to {method} {path} ({type(error).__name__})") from error
        return _body(response, path)

    async def answer(self, method: str, path: str, query: Mapping[str, str | Sequence[int]]) -> httpx.Response:
        """Whatever SteVe answers, once it does not say "later": for asking what this SteVe can do."""
        parameters = httpx.QueryParams(dict(query))
        try:
            async with unless_interrupted():
                response = await get_with_retries(lambda: self._http.request(method, path, params=parameters))
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe gave no answer to {path} ({type(error).__name__})") from error
        if response.status_code in RETRYABLE_STATUS:
            raise SteveUnavailable(f"SteVe answered {response.status_code} to {path}")
        return response

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[list[Any], None]:
        """A long JSON array, some of its items at a time; never all of it in memory.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: also in the middle, when the answer breaks off.
        """
        response = await self._open(path, query)
        items, begun = ijson.sendable_list(), False
        parser = ijson.items_coro(items, "item", use_float=True)
        try:
            async for chunk in _chunks(response):
                if not begun and not chunk.lstrip().startswith(b"["):
                    raise SteveProtocolError(f"SteVe answered something else than a list to {path}")
                begun = True
                parser.send(chunk)
                if len(items) >= STREAM_BATCH:
                    yield list(items)
                    del items[:]
            parser.close()
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe's answer to {path} broke off ({type(error).__name__})") from error
        except ijson.JSONError as error:
            raise SteveProtocolError(f"SteVe answered broken JSON to {path}") from error
        finally:
            await response.aclose()
        yield list(items)

    async def _open(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        """The head of a good answer; its body waits to be read."""

        async def attempt() -> httpx.Response:
            timeout = httpx.Timeout(WHOLE_TABLE_SECONDS, connect=5.0, pool=5.0)
            request = self._http.build_request("GET", path, params=dict(query), timeout=timeout)
            response = await self._http.send(request, stream=True)
            if not _is_good(response):
                await response.aread()
            return response

        try:
            async with unless_interrupted():
                response = await get_with_retries(attempt)
        except httpx.TransportError as error:
            raise SteveUnavailable(f"SteVe gave no answer to {path} ({type(error).__name__})") from error
        if not _is_good(response):
            _refuse(response, path)
        return response


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    chunks = response.aiter_bytes()
    while True:
        async with unless_interrupted():
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


def _body(response: httpx.Response, path: str) -> Any:
    if not _is_good(response):
        _refuse(response, path)
    try:
        return response.json()
    except ValueError as error:
        raise SteveProtocolError(f"SteVe answered broken JSON to {path}") from error


def _is_good(response: httpx.Response) -> bool:
    content_type: str = response.headers.get("content-type", "")
    is_json = content_type.partition(";")[0].strip() == "application/json"
    return is_json and response.status_code in (HTTPStatus.OK, HTTPStatus.CREATED)


def _refuse(response: httpx.Response, path: str) -> NoReturn:
    status = response.status_code
    if status in RETRYABLE_STATUS:
        raise SteveUnavailable(f"SteVe answered {status} to {path}")
    if status in REFUSALS:
        raise SteveRefused(status, path, _said(response))
    raise SteveProtocolError(f"SteVe answered {status} without JSON to {path}")


def _said(response: httpx.Response) -> str | None:
    try:
        message = response.json().get("message")
    except (ValueError, AttributeError):
        return None
    return message[:MAX_SENTENCE] if isinstance(message, str) else None


def _array(body: Any) -> list[dict[str, Any]]:
    if not isinstance(body, list):
        raise SteveProtocolError("SteVe answered something else than a list")
    return body


def _read(reader: Any, raw: dict[str, Any]) -> Any:
    try:
        return reader(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SteveProtocolError(f"SteVe answered an object we cannot read ({type(error).__name__})") from error
