"""A file is replayed as a whole or refused with one sentence that names the line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from polaris_cli.problems import BadInput
from polaris_cli.replay.rows import read_rows

HEADER = "sessionId,kwhTotal,Date,Time,chargeTimeHrs,userId,stationId,locationId"
ROW = "1,7.78,18-11-2014,15:40:26,1.5,35897499,582873,461655"


def write(folder: Path, *lines: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path = folder / "sessions.csv"
    path.write_bytes(newline.join([*lines, ""]).encode(encoding))
    return path


def test_a_row_is_read_exactly(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, HEADER, ROW))

    assert (row.session_id, row.driver, row.station, row.wh) == ("1", "35897499", "582873", 7780)
    assert row.started_at == datetime(2014, 11, 18, 15, 40, 26, tzinfo=UTC)
    assert row.stopped_at - row.started_at == timedelta(minutes=90)


def test_column_order_bom_crlf_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "extra,userId,stationId,locationId,chargeTimeHrs,Time,Date,kwhTotal,sessionId",
        "x,35897499,582873,461655,1.5,15:40:26,18-11-2014,7.78,1",
        "",
        encoding="utf-8-sig",
        newline="\r\n",
    )

    assert read_rows(path) == read_rows(write(tmp_path, HEADER.replace("\ufeff", ""), ROW))


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("2,7.78,18-11-2014,15:40:26,1.5,9,8", "line 3: it has 7 fields where the header has 8."),
        ("2,7.78,18-11-2014,15:40:26,1.5,9,8,7,6", "line 3: it has 9 fields where the header has 8."),
        ("2,-1,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal '-1' is not a plain non-negative decimal"),
        ("2,much,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal 'much' is not a plain"),
        ("2,1e3,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal '1e3' is not a plain"),
        ("2,NaN,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal 'NaN' is not a plain"),
        ("2,1.2345,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal '1.2345' is not a plain"),
        ("2,,18-11-2014,15:40:26,1.5,9,8,7", "line 3: kwhTotal is empty."),
        ("2,7.78,2014-11-18,15:40:26,1.5,9,8,7", "line 3: Date '2014-11-18' and Time '15:40:26' are not DD-MM-YYYY"),
        ("2,7.78,31-02-2014,15:40:26,1.5,9,8,7", "line 3: Date '31-02-2014'"),
        ("2,7.78,18-11-0014,15:40:26,1.5,9,8,7", "line 3: Date '18-11-0014' is before the year 2000."),
        ("2,7.78,18-11-2014,25:00:00,1.5,9,8,7", "line 3: Date '18-11-2014' and Time '25:00:00'"),
        ("2,7.78,18-11-2199,15:40:26,1.5,9,8,7", "line 3: the session ends in the future."),
        ("2,7.78,18-11-2014,15:40:26,-1,9,8,7", "line 3: chargeTimeHrs '-1' is not a non-negative number of hours."),
        ("2,7.78,18-11-2014,15:40:26,inf,9,8,7", "line 3: chargeTimeHrs 'inf' is not"),
        ("2,7.78,18-11-2014,15:40:26,9999999,9,8,7", "line 3: chargeTimeHrs '9999999' is more than a year."),
        ("2,7.78,18-11-2014,15:40:26,1.5,,8,7", "line 3: userId is empty."),
        ("2,7.78,18-11-2014,15:40:26,1.5,9,,7", "line 3: stationId is empty."),
        ("1,7.78,18-11-2014,15:40:26,1.5,9,8,7", "line 3: sessionId 1 is already on line 2."),
        ('2,"7.78,18-11-2014,15:40:26,1.5,9,8,7', "it is no CSV"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, bad: str, complaint: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read_rows(write(tmp_path, HEADER, ROW, bad))

    assert complaint in str(refusal.value)
    assert str(refusal.value).startswith("sessions.csv, line")
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "sessions.csv, line 1: the file is empty."),
        ([HEADER], "sessions.csv, line 2: there is no session."),
        ([HEADER.replace(",userId", ""), ROW], "sessions.csv, line 1: the column userId is missing."),
        ([HEADER + ",Date", ROW + ",x"], "sessions.csv, line 1: the column Date is there twice."),
    ],
)
def test_a_file_without_sessions_is_refused(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint.replace(".", r"\.")):
        read_rows(write(tmp_path, *lines))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_rows(tmp_path / "nothing.csv")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_rows(tmp_path)
    with pytest.raises(BadInput, match="it is not UTF-8 text"):
        read_rows(write(tmp_path, HEADER, ROW.replace("461655", "Zürich"), encoding="latin-1"))
