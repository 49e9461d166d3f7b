"""Host names, as requests and our own addresses name them."""

from urllib.parse import urlsplit


def host_name(host: str) -> str:
    """The lower-case name in a Host header, without its port; empty when there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
