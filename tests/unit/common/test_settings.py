"""Configuration problems are sentences that name the variable and never its value."""

import pytest

from polaris_common.settings import (
    DatabaseSettings,
    HookSettings,
    IdentitySettings,
    SettingsError,
    SteveSettings,
    load,
    load_or_exit,
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATABASE_URL",
        "STEVE_BASE_URL",
        "STEVE_API_URL",
        "STEVE_API_USERNAME",
        "STEVE_API_KEY",
        "AUTH_SECRET",
    ):
        monkeypatch.delenv(name, raising=False)


def test_each_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError) as problem:
        load(SteveSettings)
    assert str(problem.value).splitlines() == [
        "STEVE_BASE_URL is not set.",
        "STEVE_API_USERNAME is not set.",
        "STEVE_API_KEY is not set.",
    ]


def test_a_short_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET", "hunter2-hunter2")
    with pytest.raises(SettingsError) as problem:
        load(
            IdentitySettings,
            admin_base_url="http://manage.example.com",
            customer_base_url="http://example.com",
            cookie_domain=".example.com",
        )
    assert str(problem.value) == "AUTH_SECRET must have at least 32 characters."


def test_a_hook_key_may_be_absent_but_not_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEVE_PREAUTH_HMAC_KEY", raising=False)
    assert load(HookSettings).steve_preauth_hmac_key is None
    monkeypatch.setenv("STEVE_PREAUTH_HMAC_KEY", "k" * 31)
    with pytest.raises(SettingsError, match="STEVE_PREAUTH_HMAC_KEY"):
        load(HookSettings)


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE_PREAUTH_HMAC_KEY", "k" * 40)
    assert "kkkk" not in repr(load(HookSettings))


def test_the_old_name_of_the_steve_address_works_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE_API_URL", "https://ocpp.example.com/steve/")
    monkeypatch.setenv("STEVE_API_USERNAME", "suite")
    monkeypatch.setenv("STEVE_API_KEY", "secret")
    with pytest.warns(DeprecationWarning, match="STEVE_BASE_URL"):
        settings = load(SteveSettings)
    assert settings.steve_base_url == "https://ocpp.example.com/steve"


def test_a_database_address_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://root:secret-password@localhost/steve")
    with pytest.raises(SettingsError) as problem:
        load(DatabaseSettings)
    assert "DATABASE_URL" in str(problem.value)
    assert "secret-password" not in str(problem.value)


def test_a_service_leaves_with_status_2_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        load_or_exit(DatabaseSettings)
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "Configuration error: DATABASE_URL is not set.\n"
