"""When a final stop value says less (or again more) than was sold: which energy changes hands.

The ledger has layers (see ``models.EnergySlice``): even ones sell, odd ones take back. What is sold of a watt-hour is
decided by its topmost layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise


@dataclass(frozen=True)
class Layered:
    """One slice as it stands in the ledger."""

    layer: int
    from_wh: int
    to_wh: int
    started_at: datetime
    ended_at: datetime
    subscription_external_id: str


@dataclass(frozen=True)
class Correction:
    """A slice that must be added: on top of ``below``, within its range."""

    layer: int
    from_wh: int
    to_wh: int
    below: Layered

    @property
    def takes_back(self) -> bool:
        """Whether it takes energy back; otherwise it sells energy again."""
        return self.layer % 2 == 1


def corrections(slices: Sequence[Layered], begin_wh: int, end_wh: int) -> list[Correction]:
    """What to add so that, of the energy the slices cover, exactly ``[begin_wh, end_wh)`` is sold.

    Energy that no slice covers yet is not looked at: that is for new slices.
    """
    if not slices:
        return []
    edges = sorted({begin_wh, end_wh, *(edge for each in slices for edge in (each.from_wh, each.to_wh))})
    found: list[Correction] = []
    for low, high in pairwise(edges):
        top = max(
            (each for each in slices if each.from_wh <= low and high <= each.to_wh),
            key=lambda each: each.layer,
            default=None,
        )
        if top is not None and (top.layer % 2 == 0) != (begin_wh <= low and high <= end_wh):
            found.append(Correction(top.layer + 1, low, high, top))
    return _merged(found)


def _merged(found: Sequence[Correction]) -> list[Correction]:
    merged: list[Correction] = []
    for each in found:
        last = merged[-1] if merged else None
        if last is not None and last.below is each.below and last.to_wh == each.from_wh:
            merged[-1] = Correction(last.layer, last.from_wh, each.to_wh, last.below)
        else:
            merged.append(each)
    return merged
