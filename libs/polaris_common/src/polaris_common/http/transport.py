"""How we call other systems: one pooled client per upstream, explicit timeouts, retries only where they are harmless.

A retry is decided by exception type and status, never by message text. Redirects are not followed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import httpx

RETRYABLE_STATUS = frozenset({429, 500, 502, 503, 504})
ATTEMPTS = 3
BASE_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 5.0


def create_client(
    base_url: str,
    *,
    read_seconds: float,
    headers: dict[str, str] | None = None,
    auth: httpx.Auth | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """A pooled client: 5 s to connect, ``read_seconds`` to answer, no redirects."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        auth=auth,
        timeout=httpx.Timeout(read_seconds, connect=5.0, pool=5.0),
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
        follow_redirects=False,
        transport=transport,
        trust_env=False,
    )


async def get_with_retries(
    call: Callable[[], Awaitable[httpx.Response]], *, attempts: int = ATTEMPTS
) -> httpx.Response:
    """Run an idempotent call, again with full jitter while the answer is lost or says "later".

    Returns the last answer, whatever its status.

    Raises:
        httpx.TransportError: the last attempt got no answer.
    """
    for attempt in range(1, attempts):
        try:
            response = await call()
        except httpx.TransportError:
            pass
        else:
            if response.status_code not in RETRYABLE_STATUS:
                return response
        await asyncio.sleep(backoff_seconds(attempt, base=BASE_DELAY_SECONDS))
    return await call()


def backoff_seconds(attempt: int, *, base: float = BASE_DELAY_SECONDS, ceiling: float = MAX_DELAY_SECONDS) -> float:
    """A random wait before attempt ``attempt + 1``: full jitter under an exponential ceiling."""
    return random.uniform(0, min(ceiling, base * 2 ** (min(attempt, 30))))
