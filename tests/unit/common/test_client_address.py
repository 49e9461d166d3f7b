"""Whose address a request has, whatever its sender writes into headers."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from polaris_common.http.client_address import ClientAddressMiddleware, TrustedProxies, site_of

TRUSTED = TrustedProxies(["10.0.0.0/8", "fc00::/7"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.7", [b"198.51.100.1"], "203.0.113.7"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("10.0.0.2", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", [b"1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", [b"1.2.3.4", b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", [b"1.2.3.4, 198.51.100.1, 10.0.0.9"], "198.51.100.1"),
        ("10.0.0.2", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ("10.0.0.2", [b"198.51.100.1, junk"], "10.0.0.2"),
        ("10.0.0.2", [b"198.51.100.1, junk, 10.0.0.8"], "10.0.0.8"),
        ("10.0.0.2", [b"198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.2", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:10.0.0.2", [b"198.51.100.1"], "198.51.100.1"),
        ("fd00::2", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("unknown", [b"198.51.100.1"], "unknown"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    peer: str, forwarded_for: list[bytes], client: str
) -> None:
    assert TRUSTED.client_of(peer, forwarded_for) == client


async def _seen(peer: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        return None

    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    await ClientAddressMiddleware(app, trusted=TRUSTED)(scope, receive, send)
    return seen


async def test_a_proxy_of_ours_says_which_host_and_scheme_the_client_used() -> None:
    forwarded = [
        (b"x-forwarded-for", b"198.51.100.1"),
        (b"x-forwarded-proto", b"gopher, https"),
        (b"x-forwarded-host", b"evil.test, polaris.test"),
    ]

    seen = await _seen("10.0.0.2", [(b"host", b"gateway:8000"), *forwarded])

    assert (seen["client"], seen["scheme"]) == (("198.51.100.1", 0), "https")
    assert [value for name, value in seen["headers"] if name == b"host"] == [b"polaris.test"]


async def test_anybody_else_s_forwarded_headers_mean_nothing() -> None:
    forwarded = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"polaris.test")]

    seen = await _seen("203.0.113.7", [(b"host", b"evil.test"), (b"x-forwarded-for", b"1.1.1.1"), *forwarded])

    assert (seen["client"], seen["scheme"]) == (("203.0.113.7", 1), "http")
    assert (b"host", b"evil.test") in seen["headers"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("198.51.100.1", "198.51.100.2", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("unix socket", "", True),
    ],
)
def test_all_addresses_of_one_subscriber_count_together(one: str, other: str, same: bool) -> None:
    assert (site_of(one) == site_of(other)) is same
