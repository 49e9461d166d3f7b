"""What mails say, one file a language. English is complete; another language speaks where its file does."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from babel import Locale, UnknownLocaleError

ENGLISH = "en"


@dataclass(frozen=True)
class Texts:
    """One mail in one language; ``{name}`` stands for a value."""

    subject: str
    preheader: str
    title: str
    paragraphs: tuple[str, ...]
    button: str
    footers: dict[str, str]
    """By the name that ``MailContent.footer`` gives."""
    rows: dict[str, str]
    """The label of each row."""


@dataclass(frozen=True)
class Language:
    """One language's texts."""

    code: str
    mails: dict[str, Texts]
    link_hint: str
    why: str
    """Why anybody gets mails from here."""


def locale_of(tag: str) -> Locale:
    """The locale that ``tag`` (``de``, ``de-AT``, ``de_AT``) names if mails speak its language, else English."""
    try:
        locale = Locale.parse(tag, sep="_" if "_" in tag else "-")
    except (ValueError, UnknownLocaleError):
        return Locale(ENGLISH)
    return locale if locale.language in languages() else Locale(ENGLISH)


@cache
def languages() -> frozenset[str]:
    """The codes of the languages that mails speak."""
    return frozenset(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")
    )


@cache
def language(code: str) -> Language:
    """The texts of a language that is one of ``languages``."""
    found = tomllib.loads((files(__name__) / f"{code}.toml").read_text(encoding="utf-8"))
    frame = found.pop("frame")
    return Language(code, {name: _texts(table) for name, table in found.items()}, frame["link_hint"], frame["why"])


def texts_of(mail: str, code: str) -> Texts:
    """What ``mail`` says in ``code``, or in English where that language does not have it."""
    return language(code).mails.get(mail) or language(ENGLISH).mails[mail]


def _texts(table: dict[str, object]) -> Texts:
    strings = {key: value for key, value in table.items() if isinstance(value, str)}
    paragraphs, rows = table["paragraphs"], table.get("rows", {})
    assert isinstance(paragraphs, list)  # noqa: S101 - our own file
    assert isinstance(rows, dict)  # noqa: S101 - our own file
    return Texts(
        subject=strings["subject"],
        preheader=strings["preheader"],
        title=strings["title"],
        paragraphs=tuple(paragraphs),
        button=strings["button"],
        footers={key: text for key, text in strings.items() if key.startswith("footer")},
        rows=rows,
    )
