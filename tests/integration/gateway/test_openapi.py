"""What the OpenAPI documents promise, tried with made-up requests: no error of ours, no undescribed answer."""

from typing import Any

import pytest
import schemathesis
from argon2 import PasswordHasher
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as tries
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld

from gateway.app import ROUTERS
from gateway.docs.documents import DOCUMENTS, document
from polaris_common.identity import passwords
from polaris_common.models import Role

ROUTES = [route for router in ROUTERS for route in router.routes]
TRIES = 10
"""Made-up requests for each operation."""
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


@pytest.fixture(params=DOCUMENTS)
def made_up(request: pytest.FixtureRequest) -> list[Any]:
    """Requests for every operation of a document, the same in each run."""
    made: list[Any] = []
    found: Any
    for found in schemathesis.openapi.from_dict(document(request.param, ROUTES)).get_all_operations():

        @seed(7)
        @tries(
            max_examples=TRIES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.ok().as_strategy())
        def gather(case: Any) -> None:
            made.append(case)

        gather()
    return made


@pytest.mark.timeout(300)
async def test_every_operation_answers_as_its_document_says(
    world: GatewayWorld, made_up: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.never_limit(monkeypatch)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    await world.driver()
    await world.user(Role.ADMIN, email="op@example.org")
    broken = []
    for number, case in enumerate(made_up):
        on_admin = case.path.startswith("/api/admin")
        browser, email = (world.admin, "op@example.org") if on_admin else (world.customer, "ann@example.org")
        if number % 25 == 0:
            await world.sign_in(browser, email)  # some requests sign out
        wanted = case.as_transport_kwargs(base_url=ADMIN_URL if on_admin else CUSTOMER_URL)
        headers = {"origin": ADMIN_URL if on_admin else CUSTOMER_URL}
        headers |= {name: value for name, value in wanted["headers"].items() if name.lower() == "idempotency-key"}
        sent = {key: wanted[key] for key in ("params", "json", "data", "content") if wanted.get(key) is not None}
        answer = await browser.request(wanted["method"], wanted["url"], headers=headers, **sent)
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as failures:
            broken += [f"{case.method} {case.path}: {answer.status_code} {failure}" for failure in failures.exceptions]

    assert not broken, "\n\n".join(broken[:20])
