"""Who is on the other end, seen through the reverse proxies that we trust.

Every proxy appends the address it was called from to ``X-Forwarded-For``, so the list is true from its right end up to
the first address that is not a trusted proxy: that is the client. What stands left of it, the client may have written.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

UNKNOWN = "unknown"
IPV6_SITE_BITS = 64
"""One subscriber owns at least so much of IPv6."""

_PROTOCOLS = frozenset({b"http", b"https"})
_MAX_HOPS = 32


class TrustedProxies:
    """The networks that our reverse proxies call from."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self._seen: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Whether ``address`` is one of our proxies."""
        if address not in self._seen:
            if len(self._seen) > 1_000:
                self._seen.clear()
            self._seen[address] = self._is_trusted(address)
        return self._seen[address]

    def client_of(self, peer: str, forwarded_for: Sequence[bytes]) -> str:
        """The client's address: the first from the right that is no proxy of ours; ``peer`` when there is none."""
        found = peer
        hops = b",".join(forwarded_for).split(b",")[-_MAX_HOPS:]
        for hop in reversed(hops):
            if found not in self:
                break
            address = _address(hop.decode("latin-1"))
            if address is None:
                break
            found = str(address)
        return found

    def _is_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


class ClientAddressMiddleware:
    """Puts the client's address, scheme and host in place of our proxy's; outermost, so everything sees the same."""

    def __init__(self, app: ASGIApp, *, trusted: TrustedProxies) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; forwarded headers of anybody else are ignored."""
        if scope["type"] == "http":
            peer, port = scope.get("client") or (UNKNOWN, 0)
            if peer in self._trusted:
                self._forwarded(scope, peer, port)
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope, peer: str, port: int) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        said = {name: value for name, value in headers if name.startswith(b"x-forwarded-")}
        if not said:
            return
        hops = [value for name, value in headers if name == b"x-forwarded-for"]
        client = self._trusted.client_of(peer, hops)
        scope["client"] = (client, port if client == peer else 0)
        protocol = _nearest(said.get(b"x-forwarded-proto"))
        if protocol in _PROTOCOLS:
            scope["scheme"] = protocol.decode()
        host = _nearest(said.get(b"x-forwarded-host"))
        if host:
            scope["headers"] = [*(pair for pair in headers if pair[0] != b"host"), (b"host", host)]


def site_of(address: str | None) -> str:
    """What counts as one caller: an IPv4 address, or the /64 network of an IPv6 address."""
    parsed = _address(address or "")
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), IPV6_SITE_BITS), strict=False))
    return str(parsed) if parsed else UNKNOWN


def _nearest(value: bytes | None) -> bytes:
    """What the proxy next to us said, of a list that each may have added to."""
    return (value or b"").rsplit(b",", 1)[-1].strip()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: bare, ``[v6]:port`` or ``v4:port``; IPv4 in IPv6 clothes is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
