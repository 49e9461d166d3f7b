"""10,000 settled sessions of 1,000 customers: sync, ledger, Lago, and until all are told, in the app and by mail."""

import asyncio
import time
from collections.abc import Awaitable, Sequence

from notifier.notifications.mails import MailDesk
from notifier.notifications.service import Projector
from polaris_common.events.relay import EventRelay
from tests.bench.floor import copy_tables, get_all, post_batches, read_tables
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import batches_of, charge, populate
from tests.bench.report import Figure, Target

SESSIONS = 10_000
DRIVERS = 1_000
SECONDS = Target(at_most=10)
_UNNUMBERED = "SELECT count(*) FROM domain_events WHERE seq IS NULL"
_WRITTEN = (
    *("charging_sessions", "energy_slices", "lago_events", "session_billing", "domain_events"),
    *("notifications", "outgoing_mails"),
)


async def measure(bench: Bench) -> Sequence[Figure]:
    """The steps one after the other; the relay works beside them, as in every worker process."""
    sessions = bench.size(SESSIONS, 1_000)
    async with installation(bench, "settled_sessions") as site, site.workers() as workers:
        await populate(site, drivers=DRIVERS)
        await workers.mirror.refresh()
        await workers.run()  # the first one takes over what is there; only what comes after it is news
        await charge(site, sessions, cards=DRIVERS)
        relay = asyncio.create_task(EventRelay(site.database, site.jobs.redis).run())
        try:
            steps = {
                "sync": await _seconds(workers.run()),
                "ledger": await _seconds(workers.ledger.bill_due()),
                "sender": await _seconds(workers.sender.send_due()),
                "relay": await _seconds(_numbered(site)),
                "notifications": await _seconds(Projector(site.database, MailDesk()).run()),
                "relay_again": await _seconds(_numbered(site)),
            }
        finally:
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
        await site.expect("SELECT count(*) FROM lago_events WHERE status = 'delivered'", sessions)
        await site.expect("SELECT count(*) FROM domain_events WHERE type = 'session.stopped'", sessions)
        await site.expect("SELECT count(*) FROM notifications WHERE kind = 'session.complete'", sessions)
        await site.expect("SELECT count(*) FROM outgoing_mails WHERE template = 'session_summary'", sessions)
        floor = await _floor(bench, site)
    what = "GET the table, COPY the rows of all seven tables, POST the batches"
    return [Figure("seconds", "s", sum(steps.values()), SECONDS, floor, what, steps)]


async def _seconds(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _numbered(site: Installation) -> None:
    while await site.count(_UNNUMBERED):  # noqa: ASYNC110 - the relay is asked like any client would
        await asyncio.sleep(0.01)


async def _floor(bench: Bench, site: Installation) -> float:
    url = f"{site.platform.steve_url}/steve/api/v1/transactions?type=ALL&periodType=ALL"
    read = await get_all([url], auth=site.steve_auth)
    rows = await read_tables(site.platform.database_url, ["users", "tag_mappings", *_WRITTEN])
    target = await bench.migrated_database("settled_sessions_floor")
    written = {table: rows.pop(table) for table in _WRITTEN}
    await copy_tables(target, rows)
    stored = await copy_tables(target, written)
    bodies = [row.body.replace("steve_tx_", "floor_tx_", 1) for row in await site.rows("SELECT body FROM lago_events")]
    return read + stored + await post_batches(site.platform.lago_url, site.lago_key, batches_of(bodies))
