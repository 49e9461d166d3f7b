"""Which sampled value is the session's register, which ones are power."""

import pytest

from polaris_common.charging.samples import Sample, power_w, register_wh


def test_measurand_unit_and_location_default_as_ocpp_says() -> None:
    assert register_wh(Sample("1234")) == 1234


def test_kilowatt_hours_become_watt_hours() -> None:
    assert register_wh(Sample("1.5", "Energy.Active.Import.Register", "kWh")) == 1500


@pytest.mark.parametrize(
    "sample",
    [
        Sample("1234", phase="L1"),
        Sample("1234", location="Inlet"),
        Sample("1234", measurand="Energy.Active.Export.Register"),
        Sample("1234", unit="varh"),
        Sample(""),
        Sample("-5"),
        Sample("NaN"),
        Sample("OCMF|{}"),
    ],
)
def test_anything_else_is_not_the_sessions_register(sample: Sample) -> None:
    assert register_wh(sample) is None


def test_power_is_the_connectors_value_and_not_added_to_its_phases() -> None:
    power = "Power.Active.Import"
    phases = [Sample("1000", power, "W", phase=phase) for phase in ("L1", "L2", "L3")]
    assert power_w([*phases, Sample("3.0", power, "kW")]) == 3000
    assert power_w(phases) == 3000
    assert power_w([Sample("1e9999", power), Sample("x", power)]) is None
