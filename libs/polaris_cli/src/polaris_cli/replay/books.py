"""What the simulated Lago has counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from polaris_cli.problems import CommandError
from polaris_cli.replay.report import BilledRange, UnreadableEvent, billed_range, wh_of_units


@dataclass(frozen=True)
class Books:
    """Every accepted event, and what the aggregation makes of them."""

    ranges: Sequence[BilledRange]
    billed_by_subscription: Mapping[str, int]
    """Wh."""
    repeated: int
    """Event ids that count more than once."""


async def read_books(http: httpx.AsyncClient, lago_url: str, metric_code: str) -> Books:
    """Ask the simulated Lago.

    Raises:
        CommandError: it does not answer, or holds events that are none of ours.
    """
    try:
        totals = await _get(http, f"{lago_url}/_sim/totals")
        events = await _get(http, f"{lago_url}/_sim/events")
        return Books(
            ranges=[billed_range(event) for event in events["events"]],
            billed_by_subscription={
                subscription: wh_of_units(metrics[metric_code]["units"])
                for subscription, metrics in totals["units"].items()
                if metric_code in metrics
            },
            repeated=totals["duplicateTransactionIds"],
        )
    except httpx.HTTPError as error:
        raise CommandError(f"The simulated Lago does not show its books ({type(error).__name__}).") from None
    except UnreadableEvent as event:
        raise CommandError(f"Lago holds something that the billing-bridge never sends: {event}.") from None


async def _get(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    response = await http.get(url)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
