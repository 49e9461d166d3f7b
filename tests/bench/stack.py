"""An authenticated GET through the whole gateway, against a bare FastAPI route that runs the same query.

Both run in a process of their own on the same database and answer the same list of charging sessions, in turns.
"""

import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from polaris_cli.stack.platform import CUSTOMER_HOST, local_url
from polaris_cli.stack.ports import free_ports
from polaris_common.identity.sessions import cookie_name, open_session
from polaris_common.models import ChargingSession, User
from tests.bench.hooks import Measured, one_after_the_other
from tests.bench.installation import Bench, Installation, installation
from tests.bench.report import Figure, Target

SESSIONS, PAGE = 50, 25
CONNECTIONS, ROUNDS = 16, 5


async def measure(bench: Bench) -> Sequence[Figure]:
    """Requests a second of each, the median of some rounds."""
    async with installation(bench, "stack", extra={"RATE_LIMIT_SCALE": "1000"}) as site:
        cookie = await _signed_in_driver(site)
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "tests.bench.bare_get", str(port)]
        site.platform.supervisor.start("bare", command, site.platform.environment())
        site.platform.start_service("gateway")
        gateway = site.platform.ports.gateway
        await site.platform.wait_for(f"{local_url(gateway)}/readyz", f"{local_url(port)}/readyz")
        request = (
            f"GET /api/customer/sessions?limit={PAGE} HTTP/1.1\r\nHost: {CUSTOMER_HOST}\r\nCookie: {cookie}\r\n\r\n"
        )
        both: dict[int, list[Measured]] = {gateway: [], port: []}
        for _ in range(ROUNDS):
            for each, measured in both.items():
                load = one_after_the_other(each, [request.encode()], seconds=bench.size(3, 1), connections=CONNECTIONS)
                measured.append(await load)
    rate, floor = (statistics.median(each.per_second for each in measured) for measured in both.values())
    if failed := sum(each.failed for measured in both.values() for each in measured):
        raise RuntimeError(f"{failed} requests were not answered with 200")
    what = "a bare FastAPI route that runs the same query"
    details = {"p99Ms": statistics.median(each.p99_ms for each in both[gateway])}
    return [Figure("signed-in GET", "1/s", rate, Target(at_least_of_floor=0.5), floor, what, details)]


async def _signed_in_driver(site: Installation) -> str:
    """A driver with sessions; the cookie that proves who they are."""
    async with site.database.unit_of_work() as uow:
        person = {"public_id": "BENCH234", "name": "Ann", "email": "ann@example.org"}
        user = (await uow.execute(insert(User).values(person).returning(User))).scalar_one()
        began = datetime.now(UTC) - timedelta(days=30)
        rows = [
            {
                "steve_transaction_id": number,
                "charge_box_id": f"CP-{number % 5}",
                "connector_id": 1,
                "id_tag": "04A1B2C3",
                "started_at": began + timedelta(hours=number),
                "start_wh": 1_000 * number,
                "user_id": user.id,
            }
            for number in range(1, SESSIONS + 1)
        ]
        await uow.execute(insert(ChargingSession), rows)
        token = await open_session(uow, user, lifetime=timedelta(hours=1), ip_address=None, user_agent=None)
    return f"{cookie_name(secure=False)}={token}"
