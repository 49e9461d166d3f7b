"""What the OpenAPI documents promise, tried with made-up requests: no error of ours, no undescribed answer."""

import os
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as tries
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld
from tests.support.principals import ASKED_BY, Principals, principals_of

from gateway.app import ROUTERS
from gateway.docs.documents import DOCUMENTS, document
from polaris_common.http.callers import Caller, callers_of

ROUTES = [route for router in ROUTERS for route in router.routes]
TRIES = max(5, int(os.environ.get("FUZZ_EXAMPLES", "1000")) // 200)
"""Made-up requests for each operation."""
CALLERS = {getattr(route, "path", ""): next(iter(callers_of(route))) for route in ROUTES}


@pytest.fixture(params=DOCUMENTS)
def made_up(request: pytest.FixtureRequest) -> list[Any]:
    """Requests for every operation of a document, the same in each run."""
    import schemathesis  # takes a second, which only who runs this test pays

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
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    monkeypatch.setattr("gateway.devices.endpoints.FLOOR_MS", (0, 0))
    principals = await principals_of(world, monkeypatch)
    broken, let_in = [], Counter[Caller]()
    for number, case in enumerate(made_up):
        caller = CALLERS[case.operation.path]
        if "device_id" in (case.path_parameters or {}) and number % 2:
            case.path_parameters["device_id"] = str(principals.device_id)
        if caller is Caller.DEVICE:
            await principals.revive()  # some requests remove the device
        answer = await _ask(principals, case, ASKED_BY.get(caller, "nobody"))
        let_in[caller] += answer.status_code != 401
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as failures:
            broken += [f"{case.method} {case.path}: {answer.status_code} {failure}" for failure in failures.exceptions]

    assert not broken, "\n\n".join(broken[:20])
    assert all(let_in[CALLERS[case.operation.path]] for case in made_up)


async def _ask(principals: Principals, case: Any, who: str) -> httpx.Response:
    base = ADMIN_URL if case.path.startswith("/api/admin") else CUSTOMER_URL
    wanted = case.as_transport_kwargs(base_url=base)
    headers = {"origin": base, **await principals.headers(who)}
    headers |= {name: value for name, value in wanted["headers"].items() if name.lower() == "idempotency-key"}
    sent = {key: wanted[key] for key in ("params", "json", "data", "content") if wanted.get(key) is not None}
    return await principals.world.steve.request(wanted["method"], wanted["url"], headers=headers, **sent)
