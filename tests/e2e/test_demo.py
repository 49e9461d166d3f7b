"""The demo from its command to a driver's live stream, and nothing left of it afterwards."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.support.demo import running_demo

from polaris_cli.stack.ports import free_ports

READY_SECONDS = 90
EVENT_SECONDS = 60
pytestmark = pytest.mark.timeout(240)


def everything_of(process: subprocess.Popen[str], state: Path) -> list[psutil.Process]:
    """All processes of the run; PostgreSQL has left the family."""
    postmaster = int((state / "demo" / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    ours = psutil.Process(process.pid).children(recursive=True)
    return [*ours, psutil.Process(postmaster), *psutil.Process(postmaster).children(recursive=True)]


def names_of(processes: list[psutil.Process]) -> list[str]:
    return [" ".join(process.cmdline()) for process in processes if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def first_event(browser: httpx.Client) -> dict[str, Any]:
    """The first numbered event about a session that the driver's stream delivers."""
    deadline, event = time.monotonic() + EVENT_SECONDS, dict[str, Any]()
    with browser.stream("GET", "/api/stream/customer") as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            assert time.monotonic() < deadline, "no event came"
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
            elif {"id", "event", "data"} <= event.keys() and "sessionId" in json.loads(event["data"]):
                return event
            else:
                event = {}
    raise AssertionError("the stream ended")


def test_a_driver_sees_a_session_live_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running_demo(tmp_path, port) as (process, ready):
        processes = everything_of(process, tmp_path)
        assert ready["ready"] is True
        assert ready["seconds"] < READY_SECONDS
        assert ready["customer"] == f"http://polaris.localhost:{port}"
        assert ready["admin"] == f"http://manage.polaris.localhost:{port}"
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Host": f"polaris.localhost:{port}", "Origin": ready["customer"]},
            trust_env=False,
            timeout=EVENT_SECONDS,
        ) as browser:
            health = browser.get("/api/health")
            assert health.status_code == 200
            assert {name: check["status"] for name, check in health.json()["checks"].items()} == {
                "database": "ok",
                "steve": "ok",
                "lago": "ok",
                "sync": "ok",
                "redis": "ok",
            }
            signed_in = browser.post("/api/auth/sign-in/email", json=ready["driver"])
            assert signed_in.status_code == 200
            browser.headers["Cookie"] = signed_in.headers["set-cookie"].partition(";")[0]
            event = first_event(browser)
            sessions = browser.get("/api/customer/sessions").json()["items"]
        assert int(event["id"]) > 0
        assert json.loads(event["data"])["sessionId"] in [session["id"] for session in sessions]

        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert names_of(processes) == []


def test_nothing_is_left_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running_demo(tmp_path, port) as (process, ready):
        assert ready["ready"] is True
        processes = everything_of(process, tmp_path)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 30
    while names_of(processes):
        assert time.monotonic() < deadline, names_of(processes)
        time.sleep(0.1)
