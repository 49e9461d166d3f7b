"""``polaris config check``: each variable's state, never a value."""

import os
from pathlib import Path

import pytest

from polaris_cli.config.command import check
from polaris_cli.problems import BadInput

GOOD = {
    "DATABASE_URL": "postgresql://polaris:hush@db/polaris",
    "AUTH_SECRET": "s" * 40,
    "ADMIN_BASE_URL": "https://manage.example.com",
    "CUSTOMER_BASE_URL": "https://example.com",
    "COOKIE_DOMAIN": ".example.com",
    "STEVE_BASE_URL": "https://steve.example.com/steve",
    "STEVE_API_USERNAME": "polaris",
    "STEVE_API_KEY": "k" * 40,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of our own making."""
    made = dict(GOOD)
    monkeypatch.setattr(os, "environ", made)
    return made


def _lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()
    return {line[10:].split("  (")[0]: line[:10].strip() for line in lines[:-1]} | {"": lines[-1]}


def test_a_complete_environment_is_usable(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check(None) == 0

    said = _lines(capsys)
    assert (said["DATABASE_URL"], said["LAGO_API_URL"], said[""]) == ("set", "default", "The configuration is usable.")


@pytest.mark.parametrize("name", GOOD)
def test_what_is_missing_is_named(environment: dict[str, str], capsys: pytest.CaptureFixture[str], name: str) -> None:
    environment[name] = ""

    assert check(None) == 1
    assert _lines(capsys)[name] == "missing"


def test_what_is_unusable_is_named_with_a_reason_and_without_its_value(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    environment |= {"AUTH_SECRET": "tiny-secret", "TRUSTED_PROXIES": "everybody", "GATEWAY_PORT": "hundred"}

    assert check(None) == 1
    out = capsys.readouterr().out
    assert "unusable  AUTH_SECRET  (must have at least 32 characters)" in out
    assert "unusable  TRUSTED_PROXIES" in out
    assert "unusable  GATEWAY_PORT" in out
    assert not any(value in out for value in ("tiny-secret", "hush", "everybody", "hundred", "k" * 40))


def test_variables_that_contradict_each_other_are_a_problem(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    environment["ADMIN_BASE_URL"] = environment["CUSTOMER_BASE_URL"]

    assert check(None) == 1
    assert "different host names" in capsys.readouterr().out


def test_old_names_and_names_of_no_use_are_pointed_out(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    environment |= {"AUTH_URL": environment.pop("CUSTOMER_BASE_URL"), "SSE_TRANSPORT": "postgres"}

    assert check(None) == 0
    out = capsys.readouterr().out
    assert "set       CUSTOMER_BASE_URL  (by its old name AUTH_URL)" in out
    assert "not read  SSE_TRANSPORT" in out


def test_a_file_is_read_over_the_environment(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# comment\nAUTH_SECRET={'n' * 40}\nCOOKIE_DOMAIN=\n")

    assert check(file) == 1
    assert _lines(capsys)["COOKIE_DOMAIN"] == "missing"


def test_a_file_that_is_not_there_is_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        check(tmp_path / "no.env")
