"""Browsers are sent to paths of ours only."""

import pytest

from gateway.auth.paths import is_own_path, own_path


@pytest.mark.parametrize("path", ["/", "/cards?x=1#y", "/a//b", "/@x", "/ü"])
def test_a_path_is_ours(path: str) -> None:
    assert is_own_path(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test",
        "javascript:alert(1)",
        "/\t/evil.test",
        "/\n/evil.test",
        "/x\r\nlocation: y",
        "/\x7f",
        " /x",
        "/" + "x" * 2000,
    ],
)
def test_what_a_browser_might_read_as_another_site_is_not_ours(text: str) -> None:
    assert not is_own_path(text)
    assert own_path(text, otherwise="/home") == "/home"
