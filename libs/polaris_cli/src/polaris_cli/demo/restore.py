"""Giving the simulators back what our database knows from last time: they keep nothing themselves.

SteVe's transaction ids must go on where they ended, or new sessions would be taken for old ones; Lago must have the
usage again that we delivered, or its totals would start from nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from sqlalchemy import text

from polaris_cli.seed import post
from polaris_common.clock import to_wire
from polaris_common.db import Database
from polaris_common.lago import LagoClient
from polaris_common.lago.client import MAX_BATCH

PLACEHOLDER_BOX = "CB-PLACEHOLDER"
CHUNK = 500

Action = dict[str, Any]

_SESSIONS = text("""
SELECT s.steve_transaction_id AS id, s.charge_box_id, s.connector_id, s.id_tag, s.started_at,
       coalesce(s.start_wh, 0) AS start_wh, coalesce(s.stop_reason, 'PowerLoss') AS reason,
       coalesce(s.stop_actor, 'station') AS actor,
       coalesce(s.stopped_at, greatest(s.started_at, m.sampled_at)) AS stopped_at,
       coalesce(s.stop_wh, greatest(s.start_wh, m.register_wh, (
           SELECT max(to_wh) FROM energy_slices AS e WHERE e.session_id = s.id)), 0) AS stop_wh
FROM charging_sessions AS s LEFT JOIN live_meters AS m USING (steve_transaction_id)
ORDER BY s.steve_transaction_id
""")

_DELIVERED = text("SELECT body FROM lago_events WHERE status = 'delivered' ORDER BY id")


async def known_sessions(database: Database) -> list[Mapping[str, Any]]:
    """What SteVe must show again; a session that was open ends where its meter stood."""
    async with database.unit_of_work() as uow:
        return [dict(row._mapping) for row in (await uow.execute(_SESSIONS)).all()]


async def restore_steve(
    http: httpx.AsyncClient, steve_url: str, sessions: Sequence[Mapping[str, Any]], existing_boxes: set[str]
) -> bool:
    """Make SteVe's transactions as they were, with the same ids; False when a car came first and took an id."""
    if not sessions:
        return True
    await post(http, f"{steve_url}/_sim/hooks", {"preAuthorizeEnabled": False}, method="PUT")
    boxes = {session["charge_box_id"] for session in sessions} - existing_boxes | {PLACEHOLDER_BOX}
    await post(http, f"{steve_url}/_sim/charge-boxes", [{"chargeBoxId": box, "connectors": 2} for box in boxes])
    actions = script(sessions)
    given: dict[str, int] = {}
    for begin in range(0, len(actions), CHUNK):
        answer = await post(http, f"{steve_url}/_sim/script", actions[begin : begin + CHUNK])
        given |= answer["transactions"]
    await post(http, f"{steve_url}/_sim/charge-boxes/{PLACEHOLDER_BOX}", None, method="DELETE")
    await post(http, f"{steve_url}/_sim/hooks", {"preAuthorizeEnabled": None}, method="PUT")
    return all(int(ref) == transaction_id for ref, transaction_id in given.items())


def script(sessions: Sequence[Mapping[str, Any]]) -> list[Action]:
    """A start and a stop for every id up to the highest; ids without a session go to the placeholder box."""
    by_id = {session["id"]: session for session in sessions}
    actions: list[Action] = []
    for transaction_id in range(1, max(by_id) + 1):
        session = by_id.get(transaction_id)
        if session is None:
            actions.append(_placeholder(transaction_id))
        else:
            actions += _again(transaction_id, session)
    return actions


def _placeholder(transaction_id: int) -> Action:
    return {
        "do": "start",
        "ref": str(transaction_id),
        "chargeBoxId": PLACEHOLDER_BOX,
        "idTag": PLACEHOLDER_BOX,
        "startValue": str(transaction_id),
    }


def _again(transaction_id: int, session: Mapping[str, Any]) -> list[Action]:
    ref = str(transaction_id)
    start = {
        "do": "start",
        "ref": ref,
        "chargeBoxId": session["charge_box_id"],
        "connectorId": session["connector_id"],
        "idTag": session["id_tag"],
        "startValue": str(session["start_wh"]),
        "timestamp": to_wire(session["started_at"]),
    }
    stop = {
        "do": "stop",
        "ref": ref,
        "stopValue": str(session["stop_wh"]),
        "timestamp": to_wire(session["stopped_at"]),
        "reason": session["reason"],
        "actor": session["actor"],
    }
    return [start, stop]


async def restore_lago(database: Database, lago: LagoClient) -> None:
    """Send Lago what it has accepted before, byte for byte."""
    async with database.unit_of_work() as uow:
        bodies = [row.body for row in (await uow.execute(_DELIVERED)).all()]
    for begin in range(0, len(bodies), MAX_BATCH):
        await lago.send_events(bodies[begin : begin + MAX_BATCH])
