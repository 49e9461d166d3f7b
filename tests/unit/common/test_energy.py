"""Energy is integer watt-hours; text from outside is parsed strictly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_common.energy import EnergyError, kwh_text, parse_wh, wh_from_kwh


@pytest.mark.parametrize(
    ("text", "unit", "wh"),
    [("0", "Wh", 0), ("12345", "Wh", 12345), ("12.9", "Wh", 12), ("1.2345", "kWh", 1234), (" 7 ", "Wh", 7)],
)
def test_a_plain_decimal_is_read_and_never_rounded_up(text: str, unit: str, wh: int) -> None:
    assert parse_wh(text, unit) == wh


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "nan",
        "inf",
        "-1",
        "+1",
        "1e3",
        "1E3",
        ".5",
        "5.",
        "1,5",
        "0x10",
        "1_000",
        "١٢",
        "1 2",
        None,
        5,
        1.5,
    ],
)
def test_anything_but_a_plain_non_negative_decimal_is_refused(text: object) -> None:
    with pytest.raises(EnergyError):
        parse_wh(text)


def test_a_unit_that_is_no_energy_is_refused() -> None:
    with pytest.raises(EnergyError):
        parse_wh("5", "kW")


def test_a_register_beyond_any_meter_is_refused() -> None:
    with pytest.raises(EnergyError):
        parse_wh("9" * 18)


def test_kwh_finer_than_a_watt_hour_is_refused_rather_than_lost() -> None:
    assert wh_from_kwh("7.78") == 7780
    with pytest.raises(EnergyError):
        wh_from_kwh("7.7805")


@given(st.integers(min_value=-(10**14), max_value=10**14))
def test_kwh_text_is_exact_and_has_three_places(wh: int) -> None:
    text = kwh_text(wh)
    assert Decimal(text) * 1000 == wh
    assert len(text.partition(".")[2]) == 3


@given(st.integers(min_value=0, max_value=10**14))
def test_kwh_text_reads_back_as_the_same_energy(wh: int) -> None:
    assert wh_from_kwh(kwh_text(wh)) == wh
