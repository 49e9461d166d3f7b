"""What SteVe is told when it asks about a tag."""

from enum import StrEnum

from gateway.ocpp.schemas import Tap


class Override(StrEnum):
    """What SteVe may be told instead of its own decision; it only ever turns an accepted tag into a blocked one."""

    BLOCKED = "BLOCKED"


async def decide(tap: Tap) -> Override | None:
    """Whether ``tap`` must be refused although SteVe would accept it; None leaves SteVe's decision alone.

    SteVe waits 200 ms for this inside the charger's request and then goes on without it.
    """
    return None
