"""What a device may be allowed to do."""

import pytest

from polaris_common.domain.device_capabilities import OF_OPERATORS, Illegal, granted, illegal


@pytest.mark.parametrize(
    "capabilities",
    [["scanner"], ["user"], ["scanner", "user"], ["kiosk", "scanner"], ["kiosk", "user"], ["kiosk", "managed", "user"]],
)
def test_legal_sets(capabilities: list[str]) -> None:
    assert illegal(capabilities) is None


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ([], Illegal.EMPTY),
        (["tap"], Illegal.UNKNOWN),
        (["user", "user"], Illegal.DUPLICATE),
        (["charger"], Illegal.NOT_FOR_APPS),
        (["kiosk"], Illegal.KIOSK),
        (["kiosk", "scanner", "user"], Illegal.KIOSK),
    ],
)
def test_illegal_sets_and_why(capabilities: list[str], reason: Illegal) -> None:
    assert illegal(capabilities) is reason


def test_a_device_gets_what_it_asks_for_as_far_as_it_is_allowed() -> None:
    assert granted(["user", "managed", "scanner"], OF_OPERATORS) == ["scanner", "user", "managed"]
    assert granted(["user", "managed"], {"user", "kiosk"}) == ["user"]
