"""What SteVe is told about a tag, and what is written down of it."""

# ruff: noqa: S608 - the tests' own values

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from tests.support.gateway import PATIENT_SECONDS, GatewayWorld

from gateway.ocpp.recorder import Decided, TagHashes, TapRecorder, delete_old
from gateway.ocpp.service import BUDGET_SECONDS
from polaris_common.db import Database
from polaris_common.domain.tap_decision import TapReason

CARD, BOX = "04A1B2C3", "CP-1"
CLEAN = ("DELETE FROM tag_mappings", "DELETE FROM ocpp_tags", "DELETE FROM reservations")
TAP = {"idTag": CARD, "chargeBoxId": BOX, "connectorId": 1, "isStartTx": False, "ts": 1_767_225_600_000}

CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'gateway' AND datname = current_database()
"""

Arrange = Callable[..., Awaitable[None]]


@pytest.fixture
def execute(world: GatewayWorld) -> Arrange:
    """Run statements."""

    async def run(*statements: str, **values: Any) -> None:
        async with world.database.unit_of_work() as uow:
            for statement in statements:
                await uow.execute(text(statement), values)

    return run


async def _override(world: GatewayWorld, **changes: Any) -> str | None:
    response = await world.hook("pre-authorize", TAP | changes)
    assert response.status_code == 200, response.text
    override: str | None = response.json()["override"]
    return override


async def _written(world: GatewayWorld) -> list[Any]:
    await world.app.state.resources.tap_recorder.write()
    async with world.database.unit_of_work() as uow:
        return list((await uow.execute(text("SELECT * FROM tap_decisions ORDER BY id"))).all())


async def _reason(world: GatewayWorld) -> str:
    return str((await _written(world))[-1].reason)


def _mapping(id_tag: str = CARD, *, off: str | None = None, user: str = "NULL") -> str:
    reason = "NULL" if off is None else f"'{off}'"
    return (
        "INSERT INTO tag_mappings (id_tag, user_id, is_active, deactivation_reason)"
        f" VALUES ('{id_tag}', {user}, {str(off is None).lower()}, {reason})"
    )


def _tag(id_tag: str = CARD, *, pk: int = 1, parent: str | None = None, expires: str = "NULL") -> str:
    above = "NULL" if parent is None else f"'{parent}'"
    return (
        "INSERT INTO ocpp_tags (ocpp_tag_pk, id_tag, parent_id_tag, max_active_transaction_count, expiry_date)"
        f" VALUES ({pk}, '{id_tag}', {above}, -1, {expires})"
    )


def _reservation(
    id_tag: str = "OTHER", *, connector: int = 1, begins: str = "-5", ends: str = "30", **more: str
) -> str:
    columns = {"status": "'confirmed'", "user_id": "NULL"} | more
    return (
        f"INSERT INTO reservations (charge_box_id, connector_id, ocpp_tag_pk, id_tag, start_at, end_at,"
        f" {', '.join(columns)}) VALUES ('{BOX}', {connector}, 5, '{id_tag}', now() + interval '{begins} min',"
        f" now() + interval '{ends} min', {', '.join(columns.values())})"
    )


BLOCKED: list[tuple[TapReason, list[str]]] = [
    (TapReason.CARD_DISABLED, [_mapping(off="operator")]),
    (TapReason.CARD_LOST, [_mapping(off="reported_lost")]),
    (TapReason.CARD_EXPIRED, [_mapping(off="expired")]),
    (TapReason.CUSTOMER_SUSPENDED, [_mapping(off="subscription_terminated")]),
    (TapReason.CARD_EXPIRED, [_tag(expires="now() - interval '1 s'")]),
    (TapReason.CUSTOMER_SUSPENDED, [_tag(parent="META"), _tag("META", pk=2), _mapping("meta", off="operator")]),
    (
        TapReason.CUSTOMER_SUSPENDED,
        [_tag(parent="A"), _tag("A", pk=2, parent="B"), _tag("B", pk=3), _mapping("B", off="operator")],
    ),
    (TapReason.RESERVED, [_reservation()]),
    (TapReason.RESERVED, [_reservation(connector=0)]),
    (TapReason.RESERVED, [_reservation(status="'pending'")]),
]

LEFT_TO_STEVE: list[list[str]] = [
    [],
    [_mapping()],
    [_tag(expires="now() + interval '1 h'"), _mapping()],
    [_tag(), "UPDATE ocpp_tags SET max_active_transaction_count = 0"],
    # Its own mapping decides, whatever stands above it.
    [_mapping(), _tag(parent="META"), _tag("META", pk=2), _mapping("META", off="operator")],
    # A parent chain that is a circle, or whose top SteVe no longer has.
    [_tag(parent="A"), _tag("A", pk=2, parent=CARD)],
    [_tag(parent="GONE")],
    # Not this tag's, not now, not this connector, not any more.
    [_mapping("OTHER", off="operator")],
    [_reservation(CARD.lower())],
    [_reservation(begins="5")],
    [_reservation(begins="-30", ends="-1")],
    [_reservation(connector=2)],
    [_reservation(status="'cancelled'")],
    [_reservation(status="'conflicted'")],
]


async def test_a_tag_is_blocked_for_each_reason_whatever_its_spelling(world: GatewayWorld, execute: Arrange) -> None:
    for reason, statements in BLOCKED:
        await execute(*CLEAN, *statements)

        assert (await _override(world, idTag=CARD.lower()), await _reason(world)) == ("BLOCKED", reason), statements


async def test_there_is_no_objection_to_other_tags(world: GatewayWorld, execute: Arrange) -> None:
    for statements in LEFT_TO_STEVE:
        await execute(*CLEAN, *statements)

        assert (await _override(world), await _reason(world)) == (None, TapReason.NO_OBJECTION), statements


async def test_a_reservation_is_for_all_cards_of_its_driver(world: GatewayWorld, execute: Arrange) -> None:
    user = f"'{await world.user()}'"
    await execute(_reservation(user_id=user), _mapping(user=user), _tag("FAMILY", parent=CARD))

    assert await _override(world) is None
    assert await _override(world, idTag="FAMILY") is None
    assert await _override(world, idTag="STRANGER") == "BLOCKED"


async def test_without_a_connector_only_the_whole_charge_box_is_reserved(world: GatewayWorld, execute: Arrange) -> None:
    await execute(_reservation())
    assert await _override(world, connectorId=None) is None
    assert await _override(world, connectorId=0) is None

    await execute("UPDATE reservations SET connector_id = 0")
    assert await _override(world, connectorId=None) == "BLOCKED"


async def test_who_charges_may_stop_although_the_next_has_reserved_but_not_start_again(
    world: GatewayWorld, execute: Arrange
) -> None:
    user = await world.user()
    await execute(_mapping(user=f"'{user}'"), _mapping("SECOND", user=f"'{user}'"), _reservation())
    session = await world.session(user, 7)

    assert await _override(world) is None
    assert await _override(world, idTag="SECOND") is None
    assert await _override(world, isStartTx=True) == "BLOCKED"
    await execute("UPDATE charging_sessions SET state = 'stopped' WHERE id = :id", id=session)
    assert await _override(world) == "BLOCKED"


async def test_a_decision_is_never_older_than_the_tap(world: GatewayWorld, execute: Arrange) -> None:
    await execute(_mapping())
    assert await _override(world) is None

    await execute("UPDATE tag_mappings SET is_active = false, deactivation_reason = 'reported_lost'")
    assert await _override(world) == "BLOCKED"

    await execute("UPDATE tag_mappings SET is_active = true, deactivation_reason = NULL")
    assert await _override(world) is None


async def test_simultaneous_taps_get_each_their_own_answer(world: GatewayWorld, execute: Arrange) -> None:
    await execute(*(_mapping(f"CARD-{n}", off="operator" if n % 3 == 0 else None) for n in range(60)))

    answers = await asyncio.gather(*(_override(world, idTag=f"card-{n}") for n in range(60)))

    assert answers == ["BLOCKED" if n % 3 == 0 else None for n in range(60)]
    rows = await _written(world)
    assert len(rows) == 60
    assert sum(row.blocked for row in rows) == 20


@asynccontextmanager
async def _locked(database: Database, table: str) -> AsyncIterator[None]:
    connection = await database.connect_raw()
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_a_slow_database_leaves_the_decision_to_steve_and_delays_no_later_one(
    world: GatewayWorld, execute: Arrange
) -> None:
    await execute(_mapping(off="operator"))
    world.app.state.resources.taps.budget_seconds = BUDGET_SECONDS
    async with _locked(world.database, "tag_mappings"):
        began = time.perf_counter()
        answers = await asyncio.gather(*(_override(world) for _ in range(5)))
        took = time.perf_counter() - began

    assert answers == [None] * 5
    assert took < PATIENT_SECONDS
    assert await _reason(world) == TapReason.UNDECIDED
    world.app.state.resources.taps.budget_seconds = PATIENT_SECONDS
    assert await _override(world) == "BLOCKED"


async def test_a_lost_connection_is_made_again_for_the_very_next_tap(world: GatewayWorld, execute: Arrange) -> None:
    await execute(_mapping(off="operator"))
    assert await _override(world) == "BLOCKED"
    await execute(CUT_OFF)

    assert await _override(world) == "BLOCKED"


async def test_a_connection_that_was_cut_as_the_question_left_is_made_again_for_the_same_tap(
    world: GatewayWorld, execute: Arrange, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(_mapping(off="operator"))
    assert await _override(world) == "BLOCKED"
    facts = world.app.state.resources.taps._facts._query
    ask, cut = facts._fetch_once, [asyncpg.InternalClientError("got result for unknown protocol state 3")]

    async def cut_once(*question: Any) -> Any:
        if cut:
            raise cut.pop()
        return await ask(*question)

    monkeypatch.setattr(facts, "_fetch_once", cut_once)
    assert await _override(world) == "BLOCKED"
    assert not cut


async def test_a_database_that_refuses_everything_leaves_the_decision_to_steve(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(world.app.state.resources.database, "connect_raw", refuse)
    await world.app.state.resources.taps._facts.close()

    with capture_logs() as logs:
        assert await _override(world) is None

    (line,) = [line for line in logs if line["event"] == "tap_undecided"]
    assert BOX not in str(line)
    assert CARD not in str(line)


async def test_what_is_written_down_says_who_where_why_and_how_long_but_no_tag(
    world: GatewayWorld, execute: Arrange
) -> None:
    await execute(_mapping(off="reported_lost"))
    await _override(world, isStartTx=True)
    await _override(world, idTag=CARD.lower(), connectorId=None)

    first, second = await _written(world)

    assert (first.charge_box_id, first.connector_id, first.is_start) == (BOX, 1, True)
    assert (first.blocked, first.reason, second.connector_id) == (True, "card_lost", None)
    assert first.tag_mapping_id is not None
    assert first.latency_us > 0
    assert first.id_tag_hash == second.id_tag_hash
    assert CARD not in json.dumps([str(column) for column in first])


async def test_operators_find_a_tag_s_decisions(world: GatewayWorld, execute: Arrange) -> None:
    await world.operator()
    await execute(_mapping(off="reported_lost"))
    await _override(world)
    await _override(world, idTag="ANOTHER", chargeBoxId="CP-2")
    await _written(world)

    async def found(**query: Any) -> list[str]:
        answer = await world.admin.get("/api/admin/tap-decisions", params=query)
        assert answer.status_code == 200, answer.text
        return [f"{item['chargeBoxId']} {item['reason']} {item['override']}" for item in answer.json()["items"]]

    lost, other = "CP-1 card_lost BLOCKED", "CP-2 no_objection None"
    assert await found() == [other, lost]
    assert await found(limit=1) == [other]
    assert await found(idTag=CARD.lower()) == await found(blocked=True) == await found(reason="card_lost") == [lost]
    assert await found(chargeBoxId="CP-2") == [other]
    assert await found(to="2020-01-01") == []


async def test_a_recorder_without_a_database_keeps_the_latest_and_writes_them_when_it_is_back(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = TapRecorder(world.database, TagHashes("a-secret-of-more-than-32-characters-"), capacity=10)
    decided = [Decided(time.time(), CARD, BOX, n, False, TapReason.NO_OBJECTION, False, None, 1) for n in range(15)]
    for each in decided:
        recorder.note(each)
    with monkeypatch.context() as patched:

        def refuse() -> Any:
            raise ConnectionRefusedError

        patched.setattr(world.database, "glance", refuse)
        with pytest.raises(ConnectionRefusedError):
            await recorder.write()

    await recorder.write()

    assert [row.connector_id for row in await _written(world)] == list(range(5, 15))


async def test_decisions_are_forgotten_after_a_month(world: GatewayWorld, execute: Arrange) -> None:
    await _override(world)
    await _override(world)
    first, _ = await _written(world)
    await execute("UPDATE tap_decisions SET decided_at = now() - interval '31 days' WHERE id = :id", id=first.id)

    async with world.database.unit_of_work() as uow:
        assert await delete_old(uow) == 1
    assert len(await _written(world)) == 1
