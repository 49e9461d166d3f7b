"""Reading the sessions of a CSV file, strictly: a file with one bad row is refused as a whole."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from polaris_cli.problems import BadInput
from polaris_common.energy import EnergyError, wh_from_kwh

COLUMNS = ("sessionId", "kwhTotal", "Date", "Time", "chargeTimeHrs", "userId", "stationId", "locationId")
MAX_HOURS = 24 * 366
FIRST_YEAR = 2000
MAX_CELL = 100
"""Longer than any id or number in such a file."""


class BadRow(BadInput):
    """The file cannot be replayed; the text names the line and what is wrong with it."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path.name}, line {line}: {problem}.")


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One charging session of the file."""

    line: int
    session_id: str
    driver: str
    station: str
    started_at: datetime
    stopped_at: datetime
    wh: int


def read_rows(path: Path) -> list[SessionRow]:
    """Every session of ``path`` in the order of the file. Times are taken as UTC.

    Raises:
        BadInput: the file cannot be read, or a row is malformed.
    """
    rows: list[SessionRow] = []
    first_line: dict[str, int] = {}
    for line, cells in _records(path):
        try:
            row = _session(line, cells)
        except ValueError as problem:
            raise BadRow(path, line, str(problem)) from None
        earlier = first_line.setdefault(row.session_id, line)
        if earlier != line:
            raise BadRow(path, line, f"sessionId {row.session_id} is already on line {earlier}")
        rows.append(row)
    if not rows:
        raise BadRow(path, 2, "there is no session")
    return rows


def _records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = _header(path, next(reader, []))
            line = reader.line_num
            for cells in reader:
                line = reader.line_num
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise BadRow(path, line, f"it has {len(cells)} fields where the header has {len(header)}")
                yield line, dict(zip(header, cells, strict=True))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadRow(path, line + 1, "it is not UTF-8 text") from None
    except csv.Error as error:
        raise BadRow(path, line + 1, f"it is no CSV ({error})") from None


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise BadRow(path, 1, "the file is empty")
    for column in COLUMNS:
        if column not in header:
            raise BadRow(path, 1, f"the column {column} is missing")
        if header.count(column) > 1:
            raise BadRow(path, 1, f"the column {column} is there twice")
    return header


def _session(line: int, cells: dict[str, str]) -> SessionRow:
    texts = {column: cells[column].strip() for column in COLUMNS}
    for column, text in texts.items():
        if not text:
            raise ValueError(f"{column} is empty")
        if len(text) > MAX_CELL or not text.isprintable():
            raise ValueError(f"{column} is too long or not printable")
    started_at = _start(texts["Date"], texts["Time"])
    stopped_at = started_at + _duration(texts["chargeTimeHrs"])
    if stopped_at > datetime.now(UTC):
        raise ValueError("the session ends in the future")
    return SessionRow(
        line=line,
        session_id=texts["sessionId"],
        driver=texts["userId"],
        station=texts["stationId"],
        started_at=started_at,
        stopped_at=stopped_at,
        wh=_energy(texts["kwhTotal"]),
    )


def _start(date: str, time: str) -> datetime:
    try:
        moment = datetime.strptime(f"{date} {time}", "%d-%m-%Y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"Date {date!r} and Time {time!r} are not DD-MM-YYYY and HH:MM:SS") from None
    if moment.year < FIRST_YEAR:
        raise ValueError(f"Date {date!r} is before the year {FIRST_YEAR}")
    return moment


def _duration(hours: str) -> timedelta:
    try:
        number = Decimal(hours)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"chargeTimeHrs {hours!r} is not a non-negative number of hours")
    if number > MAX_HOURS:
        raise ValueError(f"chargeTimeHrs {hours!r} is more than a year")
    return timedelta(seconds=round(number * 3600))


def _energy(kwh: str) -> int:
    try:
        return wh_from_kwh(kwh)
    except EnergyError as error:
        raise ValueError(f"kwhTotal {error}") from None
