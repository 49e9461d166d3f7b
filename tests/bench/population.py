"""People, cards, stations and sessions in any number."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from polaris_cli.seed import Person, post, seed_lago, seed_steve
from polaris_cli.stack.platform import METRIC_CODE
from polaris_common.clock import to_wire
from polaris_common.ids import new_public_id
from tests.bench.installation import Installation

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ACTIONS_A_CALL = 5_000
WH = 1_500
"""The energy of one session."""

FILLED_FROM = 1_000_001
"""SteVe's id of the first session that is stored without SteVe."""

_USERS = """
INSERT INTO users (public_id, name, email, role)
SELECT public_id, 'Driver ' || n, 'driver' || n || '@bench.invalid', 'customer'
FROM unnest(CAST(:public_ids AS text[])) WITH ORDINALITY AS v(public_id, n)
"""

_MAPPINGS = """
INSERT INTO tag_mappings (id_tag, user_id, lago_customer_external_id, synced_revision)
SELECT 'BENCH' || lpad(n::text, 6, '0'), u.id, 'driver-' || (n - 1) % :drivers, 1
FROM generate_series(1, :cards) AS n
JOIN users AS u ON u.email = 'driver' || (1 + (n - 1) % :drivers) || '@bench.invalid'
"""


def card(number: int) -> str:
    """The idTag of card 0, 1, …"""
    return f"BENCH{number + 1:06d}"


def box(number: int) -> str:
    """The id of charge box 0, 1, …"""
    return f"CP-{number:04d}"


async def populate(site: Installation, *, drivers: int, cards: int | None = None, boxes: int = 500) -> None:
    """Drivers with their cards in our database, SteVe and Lago. The drivers are no customers of the web application."""
    cards = cards or drivers
    await site.execute(_USERS, public_ids=[new_public_id() for _ in range(drivers)])
    await site.execute(_MAPPINGS, drivers=drivers, cards=cards)
    stations = {box(number): 1 for number in range(boxes)}
    await seed_steve(site.http, site.platform.steve_url, stations, [card(number) for number in range(cards)])
    people = [
        Person(name=f"Driver {number}", email=f"driver{number}@bench.invalid", customer=f"driver-{number}")
        for number in range(drivers)
    ]
    await seed_lago(site.http, site.platform.lago_url, people, metric_code=METRIC_CODE, since=LONG_AGO)


def session(number: int, *, cards: int, boxes: int, before: datetime) -> list[dict[str, Any]]:
    """Start and stop of session 0, 1, …: within one hour of the clock, so that it is one slice."""
    hour = before.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1 + number // boxes)
    started = hour + timedelta(seconds=number % 60)
    start = {
        "do": "start",
        "ref": str(number),
        "chargeBoxId": box(number % boxes),
        "idTag": card(number % cards),
        "startValue": str(number * WH),
        "timestamp": to_wire(started),
    }
    stop = {
        "do": "stop",
        "ref": str(number),
        "stopValue": str((number + 1) * WH),
        "timestamp": to_wire(started + timedelta(minutes=58)),
        "reason": "EVDisconnected",
    }
    return [start, stop]


async def charge(
    site: Installation, count: int, *, cards: int, boxes: int = 500, before: datetime | None = None, first: int = 0
) -> None:
    """SteVe gets ``count`` sessions that are over, all of them before ``before`` (now)."""
    end = before or datetime.now(UTC)
    actions = [
        action
        for number in range(first, first + count)
        for action in session(number, cards=cards, boxes=boxes, before=end)
    ]
    for begin in range(0, len(actions), ACTIONS_A_CALL):
        await tell_steve(site, actions[begin : begin + ACTIONS_A_CALL])


async def tell_steve(site: Installation, actions: list[dict[str, Any]]) -> None:
    """The stations act."""
    await post(site.http, f"{site.platform.steve_url}/_sim/script", actions)


async def clear_sessions(site: Installation) -> None:
    """Forget every session and what was made of it."""
    await site.execute(f"TRUNCATE {', '.join(_FILLED)} CASCADE")


async def fill(site: Installation, count: int, *, billed: bool, cards: int) -> None:
    """Store ``count`` settled sessions that SteVe need not have; ``billed``: of long ago, with ledger and events.

    Triggers and foreign keys rest meanwhile; the rows keep to them.
    """
    async with site.database.engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in (_SESSIONS, *((_SLICES, _EVENTS, _BILLING) if billed else ())):
            await connection.exec_driver_sql(
                statement.format(count=count, cards=cards, first=FILLED_FROM, wh=WH, billed=int(billed))
            )
    await asyncio.gather(*(_vacuum(site, table) for table in _FILLED))


_FILLED = ("charging_sessions", "energy_slices", "lago_events", "session_billing")

_SESSIONS = """
INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at, start_wh,
    stopped_at, stop_wh, stop_reason, stop_actor, state, tag_mapping_id, user_id, revision, billed_revision)
SELECT {first} + n, 'CP-' || lpad((n % 500)::text, 4, '0'), 1, m.id_tag,
    date_trunc('hour', now()) - (1 + n / 500 + {billed} * 120) * interval '1 hour', n::bigint * {wh},
    date_trunc('hour', now()) - (1 + n / 500 + {billed} * 120) * interval '1 hour' + interval '58 minutes',
    (n::bigint + 1) * {wh},
    'EVDisconnected', 'station', 'settled', m.id, m.user_id, 1, {billed}
FROM generate_series(0, {count} - 1) AS n
JOIN tag_mappings AS m ON m.id_tag = 'BENCH' || lpad((1 + n % {cards})::text, 6, '0')
"""

_SLICES = """
INSERT INTO energy_slices (session_id, slice_index, layer, from_wh, to_wh, started_at, ended_at, final,
    subscription_external_id)
SELECT s.id, 0, 0, s.start_wh, s.stop_wh, s.started_at, s.stopped_at, true, m.lago_customer_external_id || '-sub'
FROM charging_sessions AS s JOIN tag_mappings AS m ON m.id = s.tag_mapping_id WHERE s.billed_revision = 1
"""

_EVENTS = """
INSERT INTO lago_events (slice_id, transaction_id, body, status, attempts, delivered_at)
SELECT a.id, 'filled_' || a.id, repeat('x', 450), 'delivered', 1, now() FROM energy_slices AS a
"""

_BILLING = """
INSERT INTO session_billing (session_id, status, tag_mapping_id, subscription_external_id, billed_wh, slice_count)
SELECT a.session_id, 'billed', s.tag_mapping_id, a.subscription_external_id, a.to_wh - a.from_wh, 1
FROM energy_slices AS a JOIN charging_sessions AS s ON s.id = a.session_id
"""


async def _vacuum(site: Installation, table: str) -> None:
    """What autovacuum does to a table that has grown, at a moment of ours."""
    async with site.database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql(
            f"VACUUM ANALYZE {table}"
        )


def batches_of(bodies: list[str], size: int = 100) -> list[list[str]]:
    """Lago's batches."""
    return [bodies[begin : begin + size] for begin in range(0, len(bodies), size)]
