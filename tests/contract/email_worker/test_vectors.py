"""The simulated Worker keeps to the protocol's table; the real one runs the same (``make test-worker``)."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.contract.email_worker.vectors import FILE, text

from polaris_sim.clock import SimClock
from polaris_sim.email_worker import EmailWorkerConfig, EmailWorkerSimulator, create_app

TABLE = json.loads(FILE.read_text())


def test_the_file_is_what_the_table_says() -> None:
    assert FILE.read_text() == text(), "run: python -m tests.contract.email_worker.vectors"


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case["name"] for case in TABLE["cases"]]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
async def test_the_simulator_answers_as_the_table_says(case: dict[str, Any]) -> None:
    now = datetime.fromtimestamp(TABLE["now"] / 1000, UTC)
    clock = SimClock(now, speed=0)
    simulator = EmailWorkerSimulator(
        EmailWorkerConfig(
            secret_a=TABLE["secretA"],
            secret_b=TABLE["secretB"],
            allowed_senders=tuple(TABLE["allowedSenders"]),
            clock=clock,
        )
    )
    app = httpx.ASGITransport(create_app(simulator))
    async with httpx.AsyncClient(transport=app, base_url="https://mail.example.com") as http:
        for step in case["steps"]:
            clock.set(datetime.fromtimestamp(TABLE["now"] / 1000 + step.get("at", 0), UTC))
            body = step["body"].encode() + b" " * step.get("padding", 0)
            signed = {} if step["signature"] is None else {"x-polaris-sig": step["signature"]}

            answer = await http.request(
                step.get("method", "POST"), step.get("path", "/send"), content=body, headers=signed
            )

            assert answer.status_code == step["status"], answer.text
            if step["error"] is not None:
                assert answer.json() == {"error": step["error"]}
    assert len(simulator.mails) == case["sent"]
    for mail in simulator.mails[:1]:
        assert mail.html == "<p>Hällo & welcome</p>"
