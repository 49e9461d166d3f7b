"""What must be set for mail, and what cannot be set together."""

import pytest

from polaris_common.email import mail_transport
from polaris_common.email.settings import EmailSettings, SmtpSecurity
from polaris_common.email.smtp import SmtpMail
from polaris_common.email.transport import ConsoleMail
from polaris_common.email.worker import EmailWorker
from polaris_common.settings import SettingsError, load

SECRET = "a-secret-of-the-worker-with-32-characters"


def _load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> EmailSettings:
    for name in EmailSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(EmailSettings)


@pytest.mark.parametrize(
    ("variables", "transport"),
    [
        ({"CF_EMAIL_WORKER_URL": "https://mail.example.com", "CF_EMAIL_WORKER_SECRET": SECRET}, EmailWorker),
        ({"SMTP_HOST": "smtp.example.com"}, SmtpMail),
        ({"SMTP_HOST": "smtp.example.com", "DEPLOY_ENV": "development"}, SmtpMail),
        ({"DEPLOY_ENV": "development"}, ConsoleMail),
        ({}, type(None)),
    ],
)
async def test_mail_leaves_as_configured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], transport: type[object]
) -> None:
    settings = _load(monkeypatch, **variables)

    assert type(mail_transport(settings)) is transport
    assert settings.mail_enabled == (transport is not type(None))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CF_EMAIL_WORKER_URL": "https://mail.example.com"}, "CF_EMAIL_WORKER_URL and CF_EMAIL_WORKER_SECRET"),
        ({"CF_EMAIL_WORKER_SECRET": SECRET}, "CF_EMAIL_WORKER_URL and CF_EMAIL_WORKER_SECRET"),
        ({"CF_EMAIL_WORKER_URL": "https://m.test", "CF_EMAIL_WORKER_SECRET": "short-1"}, "CF_EMAIL_WORKER_SECRET must"),
        (
            {"CF_EMAIL_WORKER_URL": "https://m.test", "CF_EMAIL_WORKER_SECRET": SECRET, "SMTP_HOST": "smtp.test"},
            "CF_EMAIL_WORKER_URL or SMTP_HOST",
        ),
        ({"SMTP_HOST": "smtp.test", "SMTP_USERNAME": "polaris"}, "SMTP_USERNAME and SMTP_PASSWORD"),
        ({"SMTP_HOST": "smtp.test", "SMTP_PASSWORD": "hunter2"}, "SMTP_USERNAME and SMTP_PASSWORD"),
        (
            {"SMTP_HOST": "s.test", "SMTP_SECURITY": "none", "SMTP_USERNAME": "p", "SMTP_PASSWORD": "hunter2"},
            "SMTP_SECURITY",
        ),
        ({"SMTP_HOST": "smtp.test", "SMTP_SECURITY": "ssl"}, "SMTP_SECURITY"),
        ({"EMAIL_TIME_ZONE": "Europe/Nowhere"}, "EMAIL_TIME_ZONE must be a time zone"),
        ({"EMAIL_TIME_ZONE": "../../etc/passwd"}, "EMAIL_TIME_ZONE must be a time zone"),
        ({"EMAIL_LOCALE": "german"}, "EMAIL_LOCALE must be a language"),
    ],
)
def test_what_cannot_work_is_said_with_its_variables_and_no_value(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as problem:
        _load(monkeypatch, **variables)

    assert said in str(problem.value)
    assert not any(secret in str(problem.value) for secret in (SECRET, "hunter2", "short-1"))


@pytest.mark.parametrize(
    ("security", "port"), [(SmtpSecurity.STARTTLS, 587), (SmtpSecurity.TLS, 465), (SmtpSecurity.NONE, 25)]
)
def test_an_smtp_port_that_is_not_set_is_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, security: SmtpSecurity, port: int
) -> None:
    server = _load(monkeypatch, SMTP_HOST="smtp.test", SMTP_SECURITY=security).smtp
    other = _load(monkeypatch, SMTP_HOST="smtp.test", SMTP_SECURITY=security, SMTP_PORT="2525").smtp

    assert server is not None
    assert other is not None
    assert (server.port, other.port, server.security) == (port, 2525, security)
