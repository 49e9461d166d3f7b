"""What mails show: amounts, moments and spans, written as the recipient's language and time zone want."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal, get_currency_precision
from babel.units import format_unit

_CODE_BEFORE_DIGIT = re.compile(r"(?<=[A-Z]{3})(?=\d)")
"""Where CLDR puts a space and Babel none: CHF 2.50."""


@dataclass(frozen=True)
class Energy:
    """An amount of energy."""

    wh: int


@dataclass(frozen=True)
class Money:
    """An amount in the currency's smallest unit: 1230 EUR is 12.30 €."""

    minor: int
    currency: str
    """ISO 4217, three capital letters."""


Shown = str | int | Energy | Money | datetime | date | timedelta
"""Everything that a mail can show."""


@dataclass(frozen=True)
class Writing:
    """How one recipient reads."""

    locale: Locale
    zone: tzinfo

    def write(self, value: Shown) -> str:
        """``value`` as text on one line."""
        match value:
            case Energy(wh):
                kwh = format_decimal(Decimal(wh) / 1000, "#,##0.00#", locale=self.locale)
                return f"{kwh}\N{NO-BREAK SPACE}kWh"
            case Money(minor, currency):
                amount = Decimal(minor).scaleb(-get_currency_precision(currency))
                text = format_currency(amount, currency, locale=self.locale)
                return _CODE_BEFORE_DIGIT.sub("\N{NO-BREAK SPACE}", text)
            case datetime():
                return self._moment(value)
            case date():
                return format_date(value, "long", locale=self.locale)
            case timedelta():
                return self._span(value)
            case int():
                return format_decimal(value, locale=self.locale)
            case str():
                return one_line(value)

    def _moment(self, moment: datetime) -> str:
        local = moment.astimezone(self.zone)
        day = format_date(local, "medium", locale=self.locale)
        return f"{day}, {format_time(local, 'short', tzinfo=self.zone, locale=self.locale)} {local.tzname()}"

    def _span(self, span: timedelta) -> str:
        """In days from two days on, else in hours and minutes; what is shorter than a minute counts as one."""
        minutes = max(1, int(span.total_seconds() // 60))
        if minutes >= 2 * 24 * 60:
            return self._unit(minutes // (24 * 60), "day")
        hours, rest = divmod(minutes, 60)
        parts = [self._unit(amount, unit) for amount, unit in ((hours, "hour"), (rest, "minute")) if amount]
        return " ".join(parts)

    def _unit(self, amount: int, unit: str) -> str:
        return format_unit(amount, f"duration-{unit}", locale=self.locale)


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, so that it cannot end a header or begin a line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
