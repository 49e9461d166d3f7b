"""What a Host header names."""

import pytest

from polaris_common.http.hosts import host_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("polaris.test", "polaris.test"),
        ("Polaris.TEST:8000", "polaris.test"),
        ("[::1]:8000", "::1"),
        ("", ""),
        ("[broken", ""),
        ("user@polaris.test@evil.test", "evil.test"),
        ("polaris.test.evil.test", "polaris.test.evil.test"),
    ],
)
def test_a_host_header_names_one_host(host: str, name: str) -> None:
    assert host_name(host) == name
