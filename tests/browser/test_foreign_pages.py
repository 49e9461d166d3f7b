"""Pages that are not ours try to act as whoever is signed in, with everything that browsers let them do.

One kind lies on another site, where browsers keep our cookies back; the other on a sister host under the domain that
our cookies are for, where they come along and only the page's origin tells.
"""

import json
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.browser.pages import call, request_link, session_in, sign_driver_in, sign_operator_in
from tests.browser.site import SignIn, Site

pytestmark = pytest.mark.timeout(240)

SESSION_COOKIE = "polaris.session="
SISTER, STRANGER = "news.polaris.localhost", "elsewhere.localhost"

_SEND_FORM = """([action, fields, referrer]) => {
  const policy = document.createElement("meta");
  policy.name = "referrer";
  policy.content = referrer;
  document.head.append(policy);
  const form = document.createElement("form");
  form.method = "post";
  form.action = action;
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}"""

_SEND_BLINDLY = """async ([address, body]) => {
  const headers = { "Content-Type": "text/plain" };
  const options = { method: "POST", mode: "no-cors", credentials: "include", headers, body };
  await fetch(address, options).catch(() => null);
}"""

_TRY = """async ([address, options]) => {
  try {
    return (await fetch(address, { credentials: "include", ...options })).status;
  } catch (problem) {
    return problem.name;
  }
}"""

_JSON = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": "{}"}


@dataclass(frozen=True)
class Sent:
    """What came of a request, as the browser itself knows it."""

    status: int
    error: str
    with_session: bool
    """Whether the victim's session cookie was part of it."""

    @classmethod
    def of(cls, response: Response) -> Self:
        """The request behind ``response``; its page must still be there."""
        cookies = response.request.all_headers().get("cookie", "")
        return cls(response.status, response.json()["error"], SESSION_COOKIE in cookies)


@pytest.fixture(params=[SISTER, STRANGER])
def host(request: pytest.FixtureRequest) -> str:
    """Where the foreign page lies."""
    return str(request.param)


@pytest.fixture
def foreign(profile: BrowserContext, site: Site, host: str) -> Page:
    """It, in a tab of the victim's browser."""
    page = profile.new_page()
    page.goto(site.foreign(host))
    return page


@pytest.fixture
def refused(host: str) -> Sent:
    """What shall come of all that it sends."""
    return Sent(403, "origin_mismatch", with_session=host == SISTER)


@pytest.fixture
def lures(chromium: Browser, site: Site, stranger: SignIn) -> dict[str, dict[str, str]]:
    """What the foreign page would like to be done: path and form; the last two would sign somebody else in."""
    context = chromium.new_context()
    request_link(context.new_page(), site, stranger)
    context.close()
    token = parse_qs(urlsplit(site.mailed_link(stranger.email)).query)["token"][0]
    return {
        "/api/auth/sign-out": {},
        "/api/auth/revoke-sessions": {},
        "/api/auth/sign-in/email": {"email": stranger.email, "password": stranger.password},
        "/auth/verify": {"token": token},
    }


def send_form(foreign: Page, address: str, fields: dict[str, str], *, referrer: str) -> Sent:
    """Let the foreign page send a form to ``address`` as a navigation, and come back."""
    home = foreign.url
    with foreign.expect_navigation() as answered:
        foreign.evaluate(_SEND_FORM, [address, fields, referrer])
    sent = Sent.of(answered.value)
    foreign.goto(home)
    return sent


def send_blindly(foreign: Page, address: str, body: str) -> None:
    """Let a script of the foreign page send text to ``address``; nobody in the browser sees the answer."""
    foreign.evaluate(_SEND_BLINDLY, [address, body])


def test_nothing_they_send_is_done_for_a_driver(
    foreign: Page, refused: Sent, site: Site, driver: SignIn, lures: dict[str, dict[str, str]]
) -> None:
    page = foreign.context.new_page()
    sign_driver_in(page, site, driver)
    before, everywhere = session_in(page.context, site.customer), call(page, "/api/auth/list-sessions").body

    for path, fields in lures.items():
        address = f"{site.customer}{path}"
        assert send_form(foreign, address, fields, referrer="strict-origin") == refused
        assert send_form(foreign, address, fields, referrer="no-referrer") == refused
        send_blindly(foreign, address, json.dumps(fields))

    assert session_in(page.context, site.customer) == before
    assert call(page, "/api/auth/list-sessions").body == everywhere


def test_nothing_they_send_is_done_for_an_operator(
    page: Page, foreign: Page, refused: Sent, site: Site, driver: SignIn
) -> None:
    sign_operator_in(page, site)
    before = session_in(page.context, site.customer)
    customers = call(page, f"/api/admin/user?q={driver.email}").body["items"]

    view = json.dumps({"customerUserId": customers[0]["id"]})
    send_blindly(foreign, f"{site.customer}/api/customer/impersonation/start", view)
    assert send_form(foreign, f"{site.admin}/api/auth/sign-out", {}, referrer="strict-origin") == refused

    assert before is not None
    assert session_in(page.context, site.customer) == before


def test_they_can_neither_read_nor_send_json_nor_change_by_a_link(
    page: Page, foreign: Page, site: Site, driver: SignIn
) -> None:
    sign_driver_in(page, site, driver)
    before = session_in(page.context, site.customer)

    assert foreign.evaluate(_TRY, [f"{site.customer}/api/auth/get-session", {}]) == "TypeError"
    assert foreign.evaluate(_TRY, [f"{site.customer}/api/auth/sign-out", _JSON]) == "TypeError"
    answer = foreign.goto(f"{site.customer}/api/auth/sign-out")

    assert answer is not None
    assert answer.status == 405
    assert session_in(page.context, site.customer) == before
