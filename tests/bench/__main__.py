"""``python -m tests.bench [--quick] [CASE …]``: measure, print one JSON document.

It is a benchmark and no test: a missed target is said in the document, only a case that crashes leaves with status 1.
Servers, simulators and workers are started and ended here; what happens meanwhile is said on stderr.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from polaris_cli.stack.interruption import Interrupted, run_interruptibly
from polaris_cli.stack.processes import Supervisor
from polaris_cli.stack.servers import running_servers
from polaris_common.observability import configure_logging
from polaris_common.process import collect_garbage_less
from tests.bench import (
    first_sync,
    hook_rate,
    ledger_rate,
    nothing_new,
    sender_rate,
    settled_sessions,
    stack,
    stop_to_lago,
    streams,
    ten_changes,
)
from tests.bench.installation import Bench
from tests.bench.report import CaseReport, Figure, document

CASES: dict[str, Callable[[Bench], Awaitable[Sequence[Figure]]]] = {
    "first_sync": first_sync.measure,
    "settled_sessions": settled_sessions.measure,
    "nothing_new": nothing_new.measure,
    "ten_changes": ten_changes.measure,
    "ledger_rate": ledger_rate.measure,
    "sender_rate": sender_rate.measure,
    "stop_to_lago": stop_to_lago.measure,
    "streams": streams.measure,
    "stack": stack.measure,
    "taps": hook_rate.taps_rate,
    "samples": hook_rate.samples_rate,
}
INTERRUPTED = 130


def main() -> int:
    """Measure what the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}; all without")
    parser.add_argument("--quick", action="store_true", help="small sizes; targets are for the full ones")
    options = parser.parse_args()
    names = options.cases or list(CASES)
    if unknown := set(names) - CASES.keys():
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    configure_logging("bench", "ERROR")
    collect_garbage_less()  # as the workers' processes do, whose code runs here
    try:
        return run_interruptibly(_measure(names, quick=options.quick))
    except Interrupted:
        return INTERRUPTED


async def _measure(names: Sequence[str], *, quick: bool) -> int:
    reports: dict[str, CaseReport] = {}
    with tempfile.TemporaryDirectory(prefix="polaris-bench-") as name:
        folder = Path(name)
        with Supervisor(folder / "logs" / "servers") as supervisor, running_servers(folder, supervisor) as servers:
            bench = Bench(servers, folder, quick)
            for case in names:
                reports[case] = await _case(case, bench)
    sys.stdout.write(document(reports, quick=quick) + "\n")
    return 1 if any(report.crash is not None for report in reports.values()) else 0


async def _case(name: str, bench: Bench) -> CaseReport:
    load, began = os.getloadavg()[0], time.perf_counter()
    figures: Sequence[Figure] = ()
    crash = None
    try:
        figures = await CASES[name](bench)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        crash = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    report = CaseReport(time.perf_counter() - began, load, os.getloadavg()[0], figures, crash)
    said = "; ".join(f"{each.name} {each.measured:.4g} {each.unit}" for each in figures) or "crashed"
    sys.stderr.write(f"{name}: {said} ({report.seconds:.0f} s)\n")
    return report


if __name__ == "__main__":
    sys.exit(main())
