"""What this SteVe can do. No release says its version over REST, so each ability is tried (steve.md §9.6)."""

from dataclasses import dataclass
from http import HTTPStatus

import httpx

from polaris_common.steve.client import SteveClient, SteveProtocolError, SteveRefused


@dataclass(frozen=True)
class Capabilities:
    """What the answers showed."""

    id_lists: bool
    """Transactions can be asked for by many ids at once, and operations exist (3.11 and newer)."""
    details: bool
    """A transaction can be read with its readings (3.12 and newer)."""
    stop_report: bool
    """The CSV report by stop time exists (3.12 and newer)."""
    charge_boxes: bool
    """Charge boxes can be listed (the fork)."""
    expire: bool
    """A tag can be expired at once (newer than 3.14)."""

    @property
    def operations(self) -> bool:
        """Chargers can be asked to do something (3.11 and newer)."""
        return self.id_lists

    @property
    def tasks(self) -> bool:
        """A task can be asked for again (the fork)."""
        return self.charge_boxes

    @property
    def version(self) -> str:
        """The release that the abilities point to, for people."""
        if self.charge_boxes:
            return "fork of 3.12" if self.details else "fork"
        if self.expire:
            return "newer than 3.14"
        if self.details:
            return "3.12 to 3.14"
        return "3.11" if self.id_lists else "3.8 to 3.10"


async def probe(steve: SteveClient) -> Capabilities:
    """Try every ability. A redirect or an HTML page means that it is absent.

    Raises:
        SteveUnavailable: SteVe gives no answer, so nothing is known.
        SteveRefused: it refuses our password.
        SteveProtocolError: it is older than 3.8, or no SteVe at all.
    """
    first = await steve.answer("GET", "/transactions", {"type": "STOPPED", "periodType": "TODAY"})
    if first.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise SteveRefused(first.status_code, "/transactions")
    if not _is(first, HTTPStatus.OK, "application/json"):
        raise SteveProtocolError(f"SteVe answered {first.status_code} to type=STOPPED; 3.8 or newer is needed")
    lists = await steve.answer("GET", "/transactions", {"transactionPk": [0, 1], "type": "ALL"})
    details = await steve.answer("GET", "/transactions/0", {})
    day = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-01T00:00:01Z"}
    report = await steve.answer("GET", "/transactions/reports/csv", day)
    boxes = await steve.answer("GET", "/chargeBoxes", {})
    expire = await steve.answer("PATCH", "/ocppTags/0/expire", {})
    return Capabilities(
        id_lists=_is(lists, HTTPStatus.OK, "application/json"),
        details=_misses(details, "There is no transaction"),
        stop_report=_is(report, HTTPStatus.OK, "text/csv"),
        charge_boxes=_is(boxes, HTTPStatus.OK, "application/json"),
        expire=_misses(expire, "Could not find this ocppTag"),
    )


def _is(response: httpx.Response, status: HTTPStatus, content_type: str) -> bool:
    given: str = response.headers.get("content-type", "")
    return response.status_code == status and given.partition(";")[0].strip() == content_type


def _misses(response: httpx.Response, what: str) -> bool:
    """SteVe has the call, but not the thing: its 404 says so, unlike that of an unknown path."""
    return _is(response, HTTPStatus.NOT_FOUND, "application/json") and what in response.text
