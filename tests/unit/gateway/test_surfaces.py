"""Origins and hooks."""

import pytest

from gateway.surfaces import is_hook, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Polaris.test", "https://polaris.test"),
        ("https://polaris.test:443", "https://polaris.test"),
        ("http://polaris.test:8080/app", "http://polaris.test:8080"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_has_the_origin_that_browsers_send(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(("path", "hook"), [("/api/ocpp/x", True), ("/api/ocppx", False), ("/api/admin", False)])
def test_only_whole_path_segments_make_a_hook(path: str, hook: bool) -> None:
    assert is_hook(path) is hook
