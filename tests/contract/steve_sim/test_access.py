"""Who may call, what a version lacks, and how errors look."""

from collections.abc import Callable

import httpx
import pytest

from polaris_sim.clock import SimClock
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator, create_app

Connect = Callable[[SteveSimulator], httpx.AsyncClient]
Build = Callable[..., SteveSimulator]


async def test_a_wrong_password_is_a_401_with_error_json_and_no_challenge(rest: httpx.AsyncClient) -> None:
    response = await rest.get("/ocppTags?blocked=ALL", auth=("polaris", "wrong"))

    assert response.status_code == 401
    assert "www-authenticate" not in response.headers
    body = response.json()
    assert (body["status"], body["error"], body["path"]) == (
        401,
        "Unauthorized",
        "http://steve.test/steve/api/v1/ocppTags",
    )
    assert body["timestamp"] == "2026-08-21T10:00:00.000Z"


@pytest.mark.parametrize("header", [None, "Bearer steve-api-password"])
async def test_without_basic_credentials_the_answer_is_a_403(rest: httpx.AsyncClient, header: str | None) -> None:
    request = rest.build_request("GET", "/ocppTags", headers={"Authorization": header} if header else {})

    assert (await rest.send(request, auth=None)).status_code == 403


async def test_without_a_header_steve_can_redirect_to_its_html_sign_in(build: Build, connect: Connect) -> None:
    rest = connect(build(missing_header_redirects=True))

    response = await rest.send(rest.build_request("GET", "/ocppTags"), auth=None, follow_redirects=True)

    assert response.history[0].status_code == 302
    assert response.url.path == "/steve/manager/signin"
    assert response.headers["content-type"].startswith("text/html")


async def test_a_rotated_password_works_ten_minutes_late_but_at_once_after_a_restart(
    rest: httpx.AsyncClient, simulator: SteveSimulator, clock: SimClock
) -> None:
    await rest.get("/ocppTags")
    simulator.credentials.rotate("new")
    new = ("polaris", "new")

    assert (await rest.get("/ocppTags", auth=new)).status_code == 401
    clock.advance(601)
    assert (await rest.get("/ocppTags", auth=new)).status_code == 200
    simulator.credentials.rotate("newer")
    simulator.restart()
    assert (await rest.get("/ocppTags", auth=("polaris", "newer"))).status_code == 200


async def test_3_7_wants_the_header_key_and_not_basic(build: Build, connect: Connect) -> None:
    rest = connect(build(Profile.V3_7_1))

    assert (await rest.get("/ocppTags")).status_code == 401
    assert (await rest.get("/ocppTags", headers={"STEVE-API-KEY": "steve-api-password"})).status_code == 200


async def test_3_7_without_a_key_is_an_html_500(build: Build, connect: Connect) -> None:
    response = await connect(build(Profile.V3_7_1, api_password="")).get("/ocppTags")

    assert response.status_code == 500
    assert "not exposed" in response.text


_PROBES = {
    "operations": ("POST", "/operations/TriggerMessage", 400),
    "details": ("GET", "/transactions/0", 404),
    "chargeBoxes": ("GET", "/chargeBoxes", 200),
    "expire": ("PATCH", "/ocppTags/0/expire", 404),
    "STOPPED": ("GET", "/transactions?type=STOPPED&periodType=TODAY", 200),
}


@pytest.mark.parametrize(
    ("profile", "has"),
    [
        (Profile.V3_8, {"STOPPED"}),
        (Profile.V3_11, {"STOPPED", "operations"}),
        (Profile.V3_12, {"STOPPED", "operations", "details"}),
        (Profile.V3_12_FORK, {"STOPPED", "operations", "details", "chargeBoxes"}),
        (Profile.V3_13, {"STOPPED", "operations", "details"}),
        (Profile.HEAD, {"STOPPED", "operations", "details", "expire"}),
    ],
)
async def test_probing_tells_the_versions_apart(
    build: Build, connect: Connect, profile: Profile, has: set[str]
) -> None:
    rest = connect(build(profile))
    found = set()
    for feature, (method, path, status) in _PROBES.items():
        response = await rest.request(method, path, json={} if method == "POST" else None)
        if response.status_code == status and response.json() != {} and "No static" not in response.text:
            found.add(feature)

    assert found == has


async def test_what_a_version_lacks_can_redirect_in_place_of_the_404(build: Build, connect: Connect) -> None:
    rest = connect(build(Profile.V3_8, unknown_path_redirects=True))

    assert (await rest.get("/chargeBoxes")).status_code == 302
    assert (await rest.patch("/ocppTags")).status_code == 302


async def test_3_8_knows_neither_user_ids_of_transactions_nor_several_values_of_a_filter(
    build: Build, connect: Connect
) -> None:
    simulator = build(Profile.V3_8)
    rest = connect(simulator)
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    assert "userId" not in (await rest.get("/transactions")).json()[0]
    assert "userPk" in (await rest.get("/ocppTags")).json()[0]
    assert (await rest.get("/transactions?transactionPk=1&transactionPk=2")).status_code == 400


async def test_outside_of_the_context_path_jetty_answers_html(rest: httpx.AsyncClient) -> None:
    response = await rest.get("http://steve.test/api/v1/ocppTags")

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")


async def test_the_context_path_may_be_empty(clock: SimClock) -> None:
    simulator = SteveSimulator(SteveConfig(context_path="", clock=clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(simulator))) as client:
        response = await client.get("http://steve.test/api/v1/ocppTags", auth=("polaris", "steve-api-password"))

    assert response.json() == []


async def test_malformed_json_is_a_500_with_error_json(rest: httpx.AsyncClient) -> None:
    response = await rest.post("/ocppTags", content=b"{")

    assert (response.status_code, response.json()["error"]) == (500, "Internal Server Error")
