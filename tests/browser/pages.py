"""What people, and scripts in pages, do in a browser."""

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.site import SignIn, Site

_CALL = """async ([path, body]) => {
  const options = body === null ? {} :
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  return { status: response.status, body: await response.json() };
}"""


@dataclass(frozen=True)
class Answer:
    """What a script in a page gets to see."""

    status: int
    body: Any


def call(page: Page, path: str, body: dict[str, Any] | None = None) -> Answer:
    """Let a script in ``page`` call its own host: GET, or POST with ``body`` as JSON."""
    return Answer(**page.evaluate(_CALL, [path, body]))


def session_in(profile: BrowserContext, host: str) -> dict[str, Any] | None:
    """Who is signed in in this browser and by which session, as ``host`` sees it, asked in a tab of its own."""
    tab = profile.new_page()
    response = tab.goto(f"{host}/api/auth/get-session")
    assert response is not None
    assert response.status == 200
    found: dict[str, Any] | None = response.json()
    tab.close()
    return found


def user_in(profile: BrowserContext, host: str) -> str | None:
    """The address of whoever is signed in in this browser, as ``host`` sees it."""
    found = session_in(profile, host)
    return None if found is None else str(found["user"]["email"])


def fill_in(page: Page, site: Site, driver: SignIn) -> None:
    """Open the drivers' page and send its sign-in form."""
    page.goto(site.customer)
    page.get_by_label("E-mail").fill(driver.email)
    page.get_by_label("Password").fill(driver.password)
    page.get_by_role("button", name="Sign in").click()


def sign_driver_in(page: Page, site: Site, driver: SignIn) -> None:
    """As ``fill_in``, until their charging is shown."""
    fill_in(page, site, driver)
    expect_signed_in(page, driver)


def sign_operator_in(page: Page, site: Site) -> None:
    """Let the operators' page send a password, as a web app there does."""
    page.goto(site.admin)
    operator = {"email": site.operator.email, "password": site.operator.password}
    assert call(page, "/api/auth/sign-in/email", operator).status == 200


def expect_signed_in(page: Page, driver: SignIn) -> None:
    """The drivers' page shows who is signed in, and their charging."""
    expect(page.locator("#who")).to_have_text(driver.email)
    expect(page.get_by_role("columnheader", name="Billed kWh")).to_be_visible()


def request_link(page: Page, site: Site, driver: SignIn) -> None:
    """Ask for a mailed link on the drivers' page."""
    page.goto(site.customer)
    assert call(page, "/api/auth/magic-link/preflight", {"email": driver.email}).status == 200
