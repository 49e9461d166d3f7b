"""Signing in by a mailed link: only a click on the page behind it uses it up."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import expect_signed_in, request_link, user_in
from tests.browser.site import SignIn, Site

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def elsewhere(chromium: Browser) -> Iterator[Page]:
    """A tab in another person's browser, or in a program that opens the links of mails."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_a_mailed_link_signs_its_driver_in_on_both_hosts_after_a_click(page: Page, site: Site, driver: SignIn) -> None:
    request_link(page, site, driver)
    page.goto(site.mailed_link(driver.email))
    assert user_in(page.context, site.customer) is None

    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(f"{site.customer}/")
    expect_signed_in(page, driver)
    assert user_in(page.context, site.admin) == driver.email


def test_a_link_that_was_opened_again_and_again_still_works(
    page: Page, elsewhere: Page, site: Site, driver: SignIn
) -> None:
    request_link(page, site, driver)
    link = site.mailed_link(driver.email)
    token = parse_qs(urlsplit(link).query)["token"][0]

    for address in (
        link,
        link,
        f"{site.customer}/m/{token}",
        f"{site.customer}/api/auth/magic-link/verify?token={token}",
    ):
        elsewhere.goto(address)
        expect(elsewhere.get_by_role("button", name="Sign in")).to_be_visible()
        assert user_in(elsewhere.context, site.customer) is None

    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect_signed_in(page, driver)


def test_a_link_works_once(page: Page, elsewhere: Page, site: Site, driver: SignIn) -> None:
    request_link(page, site, driver)
    link = site.mailed_link(driver.email)
    elsewhere.goto(link)
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect_signed_in(page, driver)

    elsewhere.get_by_role("button", name="Sign in").click()

    expect(elsewhere.get_by_role("heading")).to_have_text("This link does not work")
    assert user_in(elsewhere.context, site.customer) is None
    elsewhere.goto(link)
    expect(elsewhere.get_by_role("heading")).to_have_text("This link does not work")
