"""What a phone's camera opens."""

import pytest
from tests.support.gateway import GatewayWorld
from tests.support.phone import charger, printed_id


@pytest.mark.parametrize("host", ["manage.polaris.test", "polaris.test"])
async def test_iphones_learn_which_links_are_the_app_s(
    world: GatewayWorld, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.settings, "apns_team_id", "TEAM123456")

    answer = await world.steve.get("/.well-known/apple-app-site-association", headers={"host": host})

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.json() == {
        "applinks": {
            "apps": [],
            "details": [
                {
                    "appIDs": ["TEAM123456.com.example.expresscharge.ios"],
                    "components": [{"/": "/app/register/*"}, {"/": "/c/*"}, {"/": "/u/*"}, {"/": "/m/*"}],
                }
            ],
        }
    }


async def test_without_a_team_no_app_is_named(world: GatewayWorld) -> None:
    answer = await world.customer.get("/.well-known/apple-app-site-association")

    assert answer.json() == {"applinks": {"apps": [], "details": []}}


async def test_a_charger_s_sticker_leads_to_a_page_that_needs_nothing_else(world: GatewayWorld) -> None:
    await charger(world, "SECRET-BOX")

    page = await world.customer.get("/c/ABCD2345")

    assert page.status_code == 200
    assert 'href="/login?scan=1&amp;chargeBoxId=ABCD2345"' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'nonce-")
    assert "SECRET-BOX" not in page.text
    assert "http" not in page.text.replace("<!doctype html>", "")


@pytest.mark.parametrize("public_id", ["ABCD2346", "abcd2345", "%3Cscript%3E", "A", "ABCD2345%00"])
async def test_an_unknown_charger_has_a_page_that_says_so(world: GatewayWorld, public_id: str) -> None:
    await charger(world)

    page = await world.customer.get(f"/c/{public_id}")

    assert page.status_code in (400, 404)
    assert "<script>" not in page.text


async def test_a_card_s_page_tells_nothing_about_anybody(world: GatewayWorld) -> None:
    user_id = await world.user()

    known = await world.customer.get(f"/u/{await printed_id(world, user_id)}")
    unknown = await world.customer.get("/u/22222222")

    def text(page: str, nonce: str) -> str:
        return page.replace(nonce, "")

    assert known.status_code == unknown.status_code == 200
    assert "Ann" not in known.text
    assert "ann@example.org" not in known.text
    nonces = [page.headers["content-security-policy"].split("nonce-")[1].split("'")[0] for page in (known, unknown)]
    assert text(known.text, nonces[0]) == text(unknown.text, nonces[1])


@pytest.mark.parametrize("path", ["/c/ABCD2345", "/u/ABCD2345"])
async def test_landing_pages_are_the_drivers_site(world: GatewayWorld, path: str) -> None:
    await charger(world)

    assert (await world.admin.get(path)).status_code == 404
