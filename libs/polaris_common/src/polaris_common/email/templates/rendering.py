"""From a mail's values to its subject, HTML and plain text: one source for both."""

from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from polaris_common.email.templates.mails import Brand, MailContent
from polaris_common.email.templates.texts import Texts, language, locale_of, texts_of
from polaris_common.email.templates.values import Writing, one_line

SUBJECT_LENGTH = 50
PREHEADER_LENGTH = 110

_html = Environment(
    loader=PackageLoader("polaris_common.email", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_plain = _html.overlay(autoescape=False)


class LinkRefused(ValueError):
    """A mail's button would lead to a place that is not ours."""


@dataclass(frozen=True)
class MailText:
    """What one mail says."""

    subject: str
    html: str
    text: str
    """With CRLF."""


@dataclass(frozen=True)
class Hosts:
    """Where buttons may lead."""

    drivers: str
    """``CUSTOMER_BASE_URL``."""
    operators: str
    """``ADMIN_BASE_URL``."""

    def page(self, brand: Brand, path: str) -> str:
        """The address of a page on the brand's host."""
        return f"{self.operators if brand is Brand.OPERATORS else self.drivers}{path}"

    def check(self, link: str) -> str:
        """``link``, which leads to one of our hosts or is a ``mailto:``.

        Raises:
            LinkRefused: it leads elsewhere.
        """
        ours = [urlsplit(url)[:2] for url in (self.drivers, self.operators)]
        target = urlsplit(link)
        if link != one_line(link) or " " in link or (target[:2] not in ours and target.scheme != "mailto"):
            raise LinkRefused("a button leads to neither the drivers' nor the operators' host")
        return link


def render(content: MailContent, link: str, *, locale: str, time_zone: str) -> MailText:
    """The mail in the best language there is for ``locale``, with moments in ``time_zone``.

    ``link``: where its button leads, checked by ``Hosts``.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is no such time zone.
    """
    writing = Writing(locale_of(locale), ZoneInfo(time_zone))
    values = _Values(content, writing)
    texts = texts_of(content.name, writing.locale.language)
    frame = language(writing.locale.language)
    parts = {
        "language": frame.code,
        "preheader": clipped(values.fill(texts.preheader), PREHEADER_LENGTH),
        "title": values.fill(texts.title),
        "paragraphs": [values.fill(text) for text in texts.paragraphs if values.knows(placeholders(text))],
        "rows": list(_rows(content, texts, values)),
        "button": texts.button,
        "link": link,
        "link_hint": frame.link_hint,
        "footer": values.fill(texts.footers[content.footer()]),
        "why": frame.why,
    }
    text = _plain.get_template("mail.txt.j2").render(parts)
    return MailText(
        subject=clipped(one_line(values.fill(texts.subject)), SUBJECT_LENGTH),
        html=_html.get_template("mail.html.j2").render(parts),
        text=text.rstrip("\n").replace("\n", "\r\n") + "\r\n",
    )


def clipped(text: str, length: int) -> str:
    """``text`` with at most ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def placeholders(text: str) -> set[str]:
    """The values that ``text`` names."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


class _Values:
    """A mail's values as texts."""

    def __init__(self, content: MailContent, writing: Writing) -> None:
        self._content, self._writing = content, writing

    def knows(self, names: set[str]) -> bool:
        return all(getattr(self._content, name) is not None for name in names)

    def write(self, name: str) -> str:
        value = getattr(self._content, name)
        return "" if value is None else self._writing.write(value)

    def fill(self, text: str) -> str:
        return text.format_map({name: self.write(name) for name in placeholders(text)})


def _rows(content: MailContent, texts: Texts, values: _Values) -> Iterator[tuple[str, str]]:
    for name in content.rows:
        if values.knows({name}):
            yield texts.rows[name], values.write(name)
