"""What mails say. One text for each; the HTML and the plain version are made from it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_html = Environment(
    loader=PackageLoader("polaris_common.email", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_plain = _html.overlay(autoescape=False)


class Brand(StrEnum):
    """Whose name a mail carries."""

    DRIVERS = "drivers"
    OPERATORS = "operators"


@dataclass(frozen=True)
class MailTemplate:
    """One kind of mail. Every text may name values as ``{{ value }}``."""

    name: str
    category: str
    """What the Worker counts by."""
    brand: Brand
    subject: str
    preheader: str
    title: str
    paragraphs: tuple[str, ...]
    button: str | None = None
    footer: str = ""


@dataclass(frozen=True)
class MailText:
    """What one mail says."""

    subject: str
    html: str
    text: str


MAGIC_LINK = MailTemplate(
    name="magic_link",
    category="magic-link",
    brand=Brand.DRIVERS,
    subject="Sign in to Polaris Express",
    preheader="Your sign-in link. It works once and for {{ minutes }} minutes.",
    title="Sign in",
    paragraphs=("Use the button to sign in. It works once, within {{ minutes }} minutes.",),
    button="Sign in",
    footer="You did not ask for this? Then nothing happens; you can ignore this mail.",
)

ADMIN_PASSWORD_RESET = MailTemplate(
    name="admin_password_reset",
    category="admin-password-reset",
    brand=Brand.OPERATORS,
    subject="Set your operator password",
    preheader="A link to set a new password. It works once and for {{ hours }} hours.",
    title="Set your password",
    paragraphs=(
        "Use the button to set a new password for the operator pages. It works once, within {{ hours }} hours.",
        "Setting it signs you out everywhere.",
    ),
    button="Set password",
    footer="You did not ask for this? Then your password stays as it is; you can ignore this mail.",
)

TEMPLATES = {template.name: template for template in (MAGIC_LINK, ADMIN_PASSWORD_RESET)}
"""By name, as the queue stores it."""


def render(template: MailTemplate, values: dict[str, Any], link: str | None) -> MailText:
    """The mail as HTML and as text with CRLF.

    Raises:
        jinja2.UndefinedError: a value that the template names is missing.
    """

    def filled(text: str) -> str:
        return _plain.from_string(text).render(values)

    parts = {
        "preheader": filled(template.preheader),
        "title": filled(template.title),
        "paragraphs": [filled(paragraph) for paragraph in template.paragraphs],
        "button": template.button,
        "link": link,
        "footer": filled(template.footer),
    }
    text = _plain.get_template("mail.txt.j2").render(parts)
    return MailText(
        subject=filled(template.subject),
        html=_html.get_template("mail.html.j2").render(parts),
        text=text.replace("\n", "\r\n"),
    )
