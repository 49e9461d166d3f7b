"""What drivers may do."""

from polaris_common.domain.driver_capabilities import DriverCapability, capabilities_of


def test_with_an_active_card_a_driver_may_do_everything() -> None:
    assert {each.value for each in capabilities_of(has_active_card=True)} == {
        *("view_history", "start_charge", "stop_charge", "reserve", "manage_cards"),
    }


def test_without_one_a_driver_looks_back() -> None:
    assert capabilities_of(has_active_card=False) == {DriverCapability.VIEW_HISTORY}
