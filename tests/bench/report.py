"""What the cases have measured, as the one JSON document that the suite prints."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Target:
    """What a figure must reach: an amount of its own, or a multiple of the floor that was measured beside it."""

    at_most: float | None = None
    at_least: float | None = None
    at_least_of_floor: float | None = None
    at_most_of_floor: float | None = None

    def met(self, measured: float, floor: float) -> bool:
        """Whether ``measured`` reaches it."""
        if self.at_most is not None:
            return measured <= self.at_most
        if self.at_least is not None:
            return measured >= self.at_least
        if self.at_least_of_floor is not None:
            return measured >= self.at_least_of_floor * floor
        return self.at_most_of_floor is None or measured <= self.at_most_of_floor * floor

    def __str__(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        if self.at_least_of_floor is not None:
            return f">= {self.at_least_of_floor:g} x floor"
        return f"<= {self.at_most_of_floor:g} x floor"


@dataclass(frozen=True)
class Figure:
    """One measured figure beside the raw floor that the same run measured, in the same unit."""

    name: str
    unit: str
    measured: float
    target: Target
    floor: float
    floor_is: str
    """What was done for the floor."""
    details: Numbers = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.target.met(self.measured, self.floor)

    def as_json(self) -> dict[str, object]:
        """The figure with its ratio, rounded."""
        return {
            "name": self.name,
            "unit": self.unit,
            "measured": _rounded(self.measured),
            "floor": _rounded(self.floor),
            "floorIs": self.floor_is,
            "ratio": _rounded(self.measured / self.floor) if self.floor else None,
            "target": str(self.target),
            "ok": self.ok,
            **({"details": {name: _rounded(value) for name, value in self.details.items()}} if self.details else {}),
        }


@dataclass(frozen=True)
class CaseReport:
    """What one case has measured, or that it crashed."""

    seconds: float
    load_before: float
    load_after: float
    """One-minute load averages of the machine."""
    figures: Sequence[Figure] = ()
    crash: str | None = None

    def as_json(self) -> dict[str, object]:
        """For the document."""
        return {
            "seconds": _rounded(self.seconds),
            "load": {"before": _rounded(self.load_before), "after": _rounded(self.load_after)},
            **({"crash": self.crash} if self.crash is not None else {}),
            "figures": [figure.as_json() for figure in self.figures],
        }


def document(cases: Mapping[str, CaseReport], *, quick: bool) -> str:
    """The whole report. ``ok``: every case ran to its end and met every target."""
    ok = all(case.crash is None and all(figure.ok for figure in case.figures) for case in cases.values())
    shown = {name: case.as_json() for name, case in cases.items()}
    return json.dumps({"ok": ok, "quick": quick, "cpus": os.cpu_count(), "cases": shown}, indent=2)


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 100 else float(f"{value:.4g}")
