"""What every mail must be, whatever it says."""

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest

from polaris_common.email.templates import (
    MAILS,
    Energy,
    Hosts,
    LinkRefused,
    MailContent,
    MailText,
    Money,
    SessionSummary,
    render,
)
from polaris_common.email.templates.rendering import PREHEADER_LENGTH, SUBJECT_LENGTH, placeholders
from polaris_common.email.templates.samples import DRIVERS_HOST, OPERATORS_HOST, SAMPLES
from polaris_common.email.templates.texts import ENGLISH, language, languages, locale_of
from polaris_common.email.templates.values import Writing

LINK = f"{DRIVERS_HOST}/sessions/1"
HOSTS = Hosts(drivers=DRIVERS_HOST, operators=OPERATORS_HOST)
EVERY_MAIL = pytest.mark.parametrize("content", SAMPLES, ids=lambda content: content.name)
EVERY_LANGUAGE = pytest.mark.parametrize("code", sorted(languages()))
HOSTILE = 'x"><script>alert(1)</script>\r\nBcc: all@example.com\x00' + "y" * 200


class Page(HTMLParser):
    """What a mail client would make of the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value or "" for name, value in attributes if name in {"href", "src"}}

    def handle_data(self, data: str) -> None:
        self.words += data


def _render(content: MailContent, code: str = ENGLISH, *, link: str = LINK) -> MailText:
    return render(content, link, locale=code, time_zone="Europe/Berlin")


def _preheader(mail: MailText) -> str:
    return Page(mail.html.split('overflow: hidden;">')[1].split("</div>")[0]).words


def _with_every_text(content: MailContent, text: str) -> MailContent:
    """The mail with ``text`` in place of each text of its own."""
    names = [field.name for field in fields(content) if isinstance(getattr(content, field.name), str)]
    return replace(content, **dict.fromkeys(names, text))


def test_there_is_a_sample_of_every_mail() -> None:
    assert [type(sample) for sample in SAMPLES] == list(MAILS.values())


@EVERY_LANGUAGE
def test_a_language_has_every_text_and_names_the_same_values(code: str) -> None:
    english, other = language(ENGLISH), language(code)

    assert other.mails.keys() == english.mails.keys() == MAILS.keys()
    for name, texts in other.mails.items():
        assert (texts.rows.keys(), texts.footers.keys()) == (
            english.mails[name].rows.keys(),
            english.mails[name].footers.keys(),
        )
        assert set(MAILS[name].rows) == texts.rows.keys()
        said = [texts.subject, texts.preheader, texts.title, *texts.paragraphs, *texts.footers.values()]
        assert all(hasattr(content, value) for content in SAMPLES if content.name == name for value in _named(said))


def _named(texts: list[str]) -> set[str]:
    return {value for text in texts for value in placeholders(text)}


@EVERY_LANGUAGE
@EVERY_MAIL
@pytest.mark.parametrize("text", ["", "x", HOSTILE], ids=["nothing", "short", "long and hostile"])
def test_subject_and_preheader_keep_their_lengths_whatever_the_values(
    content: MailContent, code: str, text: str
) -> None:
    mail = _render(_with_every_text(content, text), code)

    assert 1 <= len(mail.subject) <= SUBJECT_LENGTH
    assert 40 <= len(_preheader(mail)) <= PREHEADER_LENGTH
    assert mail.subject.isprintable()


@EVERY_MAIL
def test_markup_in_values_is_shown_and_never_taken_for_markup(content: MailContent) -> None:
    mail = _render(_with_every_text(content, HOSTILE))

    page = Page(mail.html)
    assert page.tags & {"script", "iframe", "object", "embed", "form", "img"} == set()
    assert page.links == {LINK}
    assert not any(line.startswith("Bcc:") for line in mail.text.splitlines())


@EVERY_LANGUAGE
@EVERY_MAIL
def test_html_and_text_say_the_same(content: MailContent, code: str) -> None:
    mail = _render(content, code)

    words = " ".join(Page(mail.html).words.split())
    for line in mail.text.split("\r\n"):
        for said in line.split(": ", maxsplit=1) if line not in {"", "-- "} else []:
            assert " ".join(said.removesuffix(":").split()) in words
    assert f'<html lang="{code}">' in mail.html
    assert mail.text.count("\n") == mail.text.count("\r\n") > 5
    assert LINK in mail.text


def test_what_is_not_known_is_left_out() -> None:
    [summary] = [sample for sample in SAMPLES if isinstance(sample, SessionSummary)]
    known, unknown = _render(summary), _render(replace(summary, cost=None, card=None))

    assert "Cost: €10.94" in known.text
    assert "Cost:" not in unknown.text
    assert "Card:" not in unknown.text
    assert "The cost is not known yet" in unknown.text
    assert "The cost is not known yet" not in known.text


@pytest.mark.parametrize(
    ("tag", "language_code"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("de_CH", "de"),
        ("fr", "en"),
        ("en-GB", "en"),
        ("", "en"),
        ("../x", "en"),
        ("C", "en"),
    ],
)
def test_a_language_that_mails_do_not_speak_is_english(tag: str, language_code: str) -> None:
    assert locale_of(tag).language == language_code


@pytest.mark.parametrize(
    "link",
    [
        f"{DRIVERS_HOST}/a?b=c",
        DRIVERS_HOST,
        f"{OPERATORS_HOST}/x",
        "mailto:support@example.com",
    ],
)
def test_a_button_leads_to_our_hosts_or_is_a_mailto(link: str) -> None:
    assert HOSTS.check(link) == link


@pytest.mark.parametrize(
    "link",
    [
        "",
        "/sessions/1",
        "https://polaris.example.com.evil.test/",
        "https://polaris.example.com@evil.test/",
        "http://polaris.example.com/",
        "https://polaris.example.com:444/",
        "javascript:alert(1)",
        "//polaris.example.com/",
        f"{DRIVERS_HOST}/\r\nBcc: x@example.com",
        f"{DRIVERS_HOST}/ x",
    ],
)
def test_a_button_leads_nowhere_else(link: str) -> None:
    with pytest.raises(LinkRefused):
        HOSTS.check(link)


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [
        (Energy(wh=0), "0.00 kWh", "0,00 kWh"),
        (Energy(wh=12_345_678), "12,345.678 kWh", "12.345,678 kWh"),
        (Energy(wh=9_007_199_254_740_993), "9,007,199,254,740.993 kWh", "9.007.199.254.740,993 kWh"),
        (Money(minor=123_456, currency="EUR"), "€1,234.56", "1.234,56 €"),
        (Money(minor=5, currency="EUR"), "€0.05", "0,05 €"),
        (Money(minor=-250, currency="CHF"), "-CHF 2.50", "-2,50 CHF"),
        (Money(minor=1_234, currency="JPY"), "¥1,234", "1.234 ¥"),
        (Money(minor=1_234, currency="KWD"), "KWD 1.234", "1,234 KWD"),
        (timedelta(seconds=5), "1 minute", "1 Minute"),
        (timedelta(minutes=75), "1 hour 15 minutes", "1 Stunde 15 Minuten"),
        (timedelta(hours=24), "24 hours", "24 Stunden"),
        (timedelta(days=7, hours=3), "7 days", "7 Tage"),
        (datetime(2026, 7, 1, 22, 30, tzinfo=UTC), "Jul 2, 2026, 12:30 AM CEST", "02.07.2026, 00:30 CEST"),
        (datetime(2026, 1, 1, 22, 30, tzinfo=UTC), "Jan 1, 2026, 11:30 PM CET", "01.01.2026, 23:30 CET"),
        (date(2026, 7, 2), "July 2, 2026", "2. Juli 2026"),
        ("a\r\nb\x00\u202ec", "a b c", "a b c"),
    ],
)
def test_values_are_written_as_the_reader_writes_them(value: object, english: str, german: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    written = [Writing(locale_of(code), zone).write(value) for code in ("en", "de")]  # type: ignore[arg-type]

    assert [" ".join(text.split()) for text in written] == [english, german]
