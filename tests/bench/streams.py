"""5,000 open streams on one notifier: how late events come, and what a stream costs in memory."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from polaris_cli.stack.platform import local_url
from polaris_cli.stack.ports import free_ports
from polaris_common.events.catalogue import Audience, SessionStarted, user_audience
from polaris_common.events.live import ChargerStateChanged
from polaris_common.identity.sessions import open_session
from polaris_common.ids import new_public_id
from polaris_common.models import User
from tests.bench.installation import Bench, Installation, installation
from tests.bench.report import Figure, Target

GROUPS = 100
"""People; each has one in so many of the streams, so what concerns one person goes to 1 %."""
PER_SECOND = 50
BROADCASTS = 10

Tell = Callable[[int], Coroutine[Any, Any, None]]
"""Sends one event to the people with this number, or to all for a negative one."""


@dataclass(frozen=True)
class Load:
    """What one server did."""

    bytes_per_stream: float
    to_one: dict[str, float]
    to_all: dict[str, float]


async def measure(bench: Bench) -> Sequence[Figure]:
    """The notifier, then a bare server that does the same fan-out from memory."""
    streams, seconds = bench.size(5_000, 500), bench.size(20, 4)
    settings = {"SSE_MAX_STREAMS_PER_USER": str(streams), "DATABASE_POOL_SIZE": "10"}
    async with installation(bench, "streams", extra=settings) as site:
        ours = await _ours(site, streams, seconds)
        bare = await _bare(site, streams, seconds)
    floor_is = "an ASGI app on uvicorn with a queue and a task for each client; no log, no sign-in"
    return [
        Figure("p99 to 1 %", "s", ours.to_one["p99"], Target(at_most=0.5), bare.to_one["p99"], floor_is, ours.to_one),
        Figure("p99 to all", "s", ours.to_all["p99"], Target(at_most=0.5), bare.to_all["p99"], floor_is, ours.to_all),
        Figure(
            "memory of a stream", "KiB", ours.bytes_per_stream / 1024, Target(at_most=40),
            bare.bytes_per_stream / 1024, floor_is, {"streams": streams},
        ),
    ]  # fmt: skip


async def _ours(site: Installation, streams: int, seconds: int) -> Load:
    people, tokens = await _people(site)
    site.platform.start_service("notifier")
    await site.platform.wait_for(f"{local_url(site.platform.ports.notifier)}/readyz")

    async def tell(number: int) -> None:
        async with site.database.unit_of_work() as uow:
            sent_at = f"sentAt:{time.time_ns()}"
            if number < 0:
                uow.emit(ChargerStateChanged(charge_box_id="CP-1", status="Available", updated_at=sent_at))
                return
            uow.emit(
                SessionStarted(
                    audience=Audience((user_audience(people[number]),)),
                    session_id=number,
                    transaction_id=number,
                    charge_box_id="CP-1",
                    connector_id=1,
                    started_at=sent_at,
                )
            )

    return await _load(site, "notifier", site.platform.ports.notifier, tokens, tell, streams=streams, seconds=seconds)


async def _bare(site: Installation, streams: int, seconds: int) -> Load:
    (port,) = free_ports(1)
    site.platform.supervisor.start("bare", [sys.executable, "-m", "tests.bench.bare_stream", str(port)])
    await site.platform.wait_for(f"{local_url(port)}/readyz")

    async def tell(number: int) -> None:
        body = json.dumps({"updatedAt": f"sentAt:{time.time_ns()}"})
        await site.http.post(f"{local_url(port)}/{'all' if number < 0 else number}", content=body)

    tokens = [str(number) for number in range(GROUPS)]
    return await _load(site, "bare", port, tokens, tell, streams=streams, seconds=seconds)


async def _people(site: Installation) -> tuple[list[Any], list[str]]:
    people, tokens = [], []
    async with site.database.unit_of_work() as uow:
        for number in range(GROUPS):
            user = User(public_id=new_public_id(), role="customer", email=f"{number}@streams.example")
            uow.session.add(user)
            await uow.session.flush()
            people.append(user.id)
            tokens.append(await open_session(uow, user, lifetime=timedelta(hours=1), ip_address=None, user_agent=None))
    return people, tokens


async def _load(
    site: Installation, server: str, port: int, tokens: list[str], tell: Tell, *, streams: int, seconds: int
) -> Load:
    (child,) = [each for each in site.platform.supervisor.children if each.name == server]
    before = _resident(child.pid)
    readers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.stream_readers", str(port), str(streams),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await _ask(readers, " ".join(tokens))
        per_stream = (_resident(child.pid) - before) / streams
        for number in range(PER_SECOND):  # the first ones are slower, everywhere
            await tell(number % GROUPS)
        await _report(readers, expected=PER_SECOND * streams // GROUPS)
        await _at_rate(tell, PER_SECOND * seconds)
        to_one = await _report(readers, expected=PER_SECOND * seconds * streams // GROUPS)
        for _ in range(BROADCASTS):
            await tell(-1)
            await asyncio.sleep(1)
        to_all = await _report(readers, expected=BROADCASTS * streams)
    finally:
        readers.kill()
        await readers.wait()
    return Load(per_stream, to_one, to_all)


async def _at_rate(tell: Tell, events: int) -> None:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(events):
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
            group.create_task(tell(number % GROUPS))


async def _report(readers: asyncio.subprocess.Process, *, expected: int) -> dict[str, float]:
    """What has arrived, once all of it has."""
    await asyncio.sleep(2)
    report: dict[str, float] = json.loads(await _ask(readers, "report"))
    if report["received"] != expected:
        raise RuntimeError(f"{report['received']} events in place of {expected}")
    return report


async def _ask(readers: asyncio.subprocess.Process, line: str) -> str:
    if readers.stdin is None or readers.stdout is None:
        raise RuntimeError("the readers have no pipes")
    readers.stdin.write(f"{line}\n".encode())
    await readers.stdin.drain()
    answer = (await readers.stdout.readline()).decode()
    if not answer:
        raise RuntimeError("the readers have ended")
    return answer


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
