"""How mail is configured: a Worker or an SMTP server, senders, and the language where a person's own is not known."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator

from polaris_common.settings import HttpUrl, Secret, SettingsGroup


class SmtpSecurity(StrEnum):
    """How the way to an SMTP server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


_SMTP_PORTS = {SmtpSecurity.STARTTLS: 587, SmtpSecurity.TLS: 465, SmtpSecurity.NONE: 25}


@dataclass(frozen=True)
class SmtpServer:
    """Where mails go by SMTP."""

    host: str
    port: int
    security: SmtpSecurity
    username: str | None = None
    password: SecretStr | None = None


class EmailSettings(SettingsGroup):
    """Mail, by a Worker or an SMTP server; without either it is off, and in development (``DEPLOY_ENV``) logged."""

    deploy_env: str = "production"
    cf_email_worker_url: HttpUrl | None = None
    cf_email_worker_secret: Secret | None = None
    email_from: str | None = None
    """Sender of mails to drivers, e.g. ``Polaris <noreply@example.com>``; the Worker must know it."""
    email_from_admin: str | None = None
    """Sender of mails to operators."""
    operator_contact_email: str | None = None
    """Where answers to mails go."""
    email_locale: str = "en"
    """Language of mails to people whose own is not known, e.g. ``de`` or ``en-GB``."""
    email_time_zone: str = "UTC"
    """Zone of times in mails to people whose own is not known, e.g. ``Europe/Berlin``."""

    @field_validator("email_locale")
    @classmethod
    def _locale(cls, locale: str) -> str:
        if not re.fullmatch(r"[a-z]{2,3}([-_][A-Z]{2})?", locale):
            raise ValueError("must be a language such as de or en-GB")
        return locale

    @field_validator("email_time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be a time zone such as Europe/Berlin") from None
        return zone

    smtp_host: str | None = None
    smtp_port: int | None = Field(default=None, ge=1, le=65_535)
    """587 with STARTTLS, 465 with TLS, else 25."""
    smtp_security: SmtpSecurity = SmtpSecurity.STARTTLS
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None

    @model_validator(mode="after")
    def _address_and_secret(self) -> Self:
        if (self.cf_email_worker_url is None) != (self.cf_email_worker_secret is None):
            raise ValueError("must give CF_EMAIL_WORKER_URL and CF_EMAIL_WORKER_SECRET together")
        return self

    @model_validator(mode="after")
    def _one_way_to_send(self) -> Self:
        if self.smtp_host is not None and self.cf_email_worker_url is not None:
            raise ValueError("must give either CF_EMAIL_WORKER_URL or SMTP_HOST, not both")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("must give SMTP_USERNAME and SMTP_PASSWORD together")
        if self.smtp_username is not None and self.smtp_security is SmtpSecurity.NONE:
            raise ValueError("must not send SMTP_PASSWORD in the clear: set SMTP_SECURITY to starttls or tls")
        return self

    @property
    def smtp(self) -> SmtpServer | None:
        """The SMTP server, if there is one."""
        if self.smtp_host is None:
            return None
        return SmtpServer(
            host=self.smtp_host,
            port=self.smtp_port or _SMTP_PORTS[self.smtp_security],
            security=self.smtp_security,
            username=self.smtp_username,
            password=self.smtp_password,
        )

    @property
    def mail_enabled(self) -> bool:
        """Whether mail is sent, or shown in the log."""
        return self.cf_email_worker_url is not None or self.smtp_host is not None or self.deploy_env == "development"
