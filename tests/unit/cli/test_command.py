"""What can be wrong before anything is started: one sentence, status 2, nothing done."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polaris_cli.main import app
from polaris_cli.problems import BadInput
from polaris_cli.replay.chaos import lago_faults
from polaris_cli.stack.ports import free_ports, require_free
from polaris_cli.stack.secrets import StackSecrets
from polaris_cli.stack.servers import only_run
from polaris_sim.faults import Fault

runner = CliRunner()


def test_a_malformed_file_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("sessionId,kwhTotal\n")

    result = runner.invoke(app, ["replay", str(path), "--state", str(tmp_path / "state")])

    assert result.exit_code == 2
    assert result.stderr == "s.csv, line 1: the column Date is missing.\n"
    assert result.stdout == ""
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--profile", "3.7.1"), ("--profile", "nonsense"), ("--lago-store", "mysql")]
)
def test_unknown_choices_are_refused(tmp_path: Path, option: str, value: str) -> None:
    result = runner.invoke(app, ["replay", "x.csv", option, value, "--state", str(tmp_path)])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"{option} must be one of ")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_taken_port_starts_nothing(tmp_path: Path, taken_port: int) -> None:
    result = runner.invoke(app, ["demo", "--port", str(taken_port), "--state", str(tmp_path / "state")])

    assert result.exit_code == 2
    assert result.stderr == f"Port {taken_port} is taken by another program; stop it or choose another with --port.\n"
    assert not (tmp_path / "state").exists()


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(5)

    assert len(set(ports)) == 5
    for port in ports:
        require_free(port)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with only_run(folder), pytest.raises(BadInput, match="Another run already uses"), only_run(folder):
        pass
    with only_run(folder):
        pass


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "secrets.json"

    made = StackSecrets.kept_in(path)

    assert StackSecrets.kept_in(path) == made
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert len({*json.loads(path.read_text()).values()}) == 8
    assert min(len(made.auth_secret), len(made.preauth_key), len(made.metervalue_key)) >= 32
    assert min(len(made.driver_password), len(made.admin_password)) >= 12


@pytest.mark.parametrize("text", ["", "[]", '{"auth_secret": "x"}'])
def test_broken_secrets_are_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)

    with pytest.raises(BadInput, match=r"start again with --fresh\.$"):
        StackSecrets.kept_in(path)


def test_chaos_disturbs_lago_in_every_way_and_the_same_way_for_a_seed() -> None:
    plan = lago_faults(7)

    assert plan == lago_faults(7)
    assert {Fault(rule["fault"]) for rule in plan["rules"]} == {
        Fault.ERROR_BEFORE,
        Fault.ERROR_AFTER,
        Fault.TIMEOUT_AFTER,
        Fault.RATE_LIMITED,
        Fault.HTML_502,
        Fault.RESET,
        Fault.RESET_AFTER,
    }
    assert sum(rule["probability"] for rule in plan["rules"]) < 0.5
