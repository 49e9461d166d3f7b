"""Children never outlive their run, and one that dies says why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polaris_cli.stack.keeper import keep
from polaris_cli.stack.processes import ChildDied, Supervisor, last_words

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN_PROGRAM = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until_gone(*pids: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < deadline, "a child is left"
        time.sleep(0.02)


def test_all_children_are_gone_after_the_run(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        children = [supervisor.start(name, SLEEPER) for name in ("one", "two")]
        assert all(lives(child.pid) for child in children)

    assert not any(lives(child.pid) for child in children)


def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_cli.stack.processes.STOP_SECONDS", 0.2)
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("stubborn", [sys.executable, "-c", STUBBORN_PROGRAM])
        while not child.log.read_text().endswith("\n"):
            time.sleep(0.02)
        grandchild = int(child.log.read_text())
        assert lives(grandchild)

    assert not lives(child.pid)
    wait_until_gone(grandchild)


def test_all_children_are_gone_after_their_parent_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from polaris_cli.stack.processes import Supervisor\n"
        f"supervisor = Supervisor(Path({str(tmp_path)!r}))\n"
        f"print(*[supervisor.start(name, {SLEEPER!r}).pid for name in 'ab'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(lives(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)

    wait_until_gone(*pids)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("print('Starting'); print('DATABASE_URL is not set.')", "DATABASE_URL is not set."),
        ('print(\'{"event": "the port is taken", "level": "error"}\')', "the port is taken"),
        ("raise ValueError('no way')", "ValueError: no way"),
    ],
)
def test_a_child_that_dies_at_start_is_reported_in_one_sentence(tmp_path: Path, said: str, heard: str) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("gateway", [sys.executable, "-c", f"{said}\nraise SystemExit(3)"]).process.wait()
        with pytest.raises(ChildDied) as death:
            supervisor.check()

    assert str(death.value).startswith("gateway has stopped (status ")
    assert heard in str(death.value)
    assert "\n" not in str(death.value)


def test_a_child_that_was_killed_is_reported_by_its_signal(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("notifier", SLEEPER)
        os.kill(child.pid, signal.SIGKILL)
        child.process.wait()
        with pytest.raises(ChildDied, match=r"^notifier was ended by SIGKILL\."):
            supervisor.check()


def test_a_step_that_fails_is_reported_and_one_that_works_is_forgotten(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.run("migrate", [sys.executable, "-c", "print('done')"])
        supervisor.check()
        with pytest.raises(ChildDied, match=r"migrate has stopped \(status 1\): The database .* cannot be reached"):
            supervisor.run("migrate", [sys.executable, "-c", "exit('The database of DATABASE_URL cannot be reached.')"])


def test_a_killed_child_is_started_again_with_its_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start(
            "worker", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
        )
        first = child.pid
        while "up" not in child.log.read_text():
            time.sleep(0.02)
        supervisor.kill("worker")
        assert not lives(first)
        supervisor.restart("worker")
        supervisor.check()
        assert child.pid != first
        while child.log.read_text().split() != ["up", "up"]:
            time.sleep(0.02)

    assert not lives(child.pid)


def test_the_keeper_ends_only_what_was_not_taken_back() -> None:
    orders = ["+10", "+11", "-10", "+pg /a b", "+pg /c", "-pg /c", "", "garbage", "+x"]

    assert keep(orders) == ({11}, {"/a b"})


def test_last_words_of_a_trace_in_json_are_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"event": "failed", "exception": "Traceback\\n  x\\nOSError: gone"}\n\n')
    assert last_words(log) == "OSError: gone"
    log.write_text("")
    assert last_words(log) == ""
