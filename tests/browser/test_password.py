"""Signing in by password, and what one sign-in means on both hosts."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.pages import call, fill_in, sign_driver_in, sign_operator_in, user_in
from tests.browser.site import SignIn, Site

pytestmark = pytest.mark.timeout(240)


def test_a_driver_signs_in_and_stays_signed_in(page: Page, site: Site, driver: SignIn) -> None:
    sign_driver_in(page, site, driver)

    page.reload()

    expect(page.locator("#who")).to_have_text(driver.email)
    assert call(page, "/api/customer/sessions").status == 200


def test_a_wrong_password_signs_nobody_in(profile: BrowserContext, page: Page, site: Site, driver: SignIn) -> None:
    fill_in(page, site, SignIn(driver.email, "not-the-password"))

    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page.get_by_label("Password")).to_be_visible()
    assert user_in(profile, site.customer) is None
    assert profile.cookies() == []


def test_an_operator_signs_in_on_the_admin_host(profile: BrowserContext, page: Page, site: Site) -> None:
    page.goto(site.admin)
    assert call(page, "/api/admin/user").status == 401

    sign_operator_in(page, site)

    assert user_in(profile, site.admin) == site.operator.email
    assert call(page, "/api/admin/user").status == 200


def test_scripts_on_neither_host_see_the_cookies(
    profile: BrowserContext, page: Page, site: Site, driver: SignIn
) -> None:
    sign_driver_in(page, site, driver)

    host = urlsplit(site.customer).hostname
    assert {(cookie["domain"], cookie["httpOnly"], cookie["sameSite"]) for cookie in profile.cookies()} == {
        (f".{host}", True, "Lax")
    }
    assert page.evaluate("document.cookie") == ""
    page.goto(site.admin)
    assert page.evaluate("document.cookie") == ""


def test_a_driver_is_known_on_the_admin_host_and_sees_nothing_there(
    profile: BrowserContext, page: Page, site: Site, driver: SignIn
) -> None:
    sign_driver_in(page, site, driver)

    page.goto(site.admin)

    assert user_in(profile, site.admin) == driver.email
    assert call(page, "/api/admin/user").status == 404


def test_an_operator_is_known_on_the_customer_host(page: Page, site: Site) -> None:
    sign_operator_in(page, site)

    page.goto(site.customer)

    expect(page.locator("#who")).to_have_text(site.operator.email)


def test_signing_out_on_one_host_is_signing_out_on_both(
    chromium: Browser, profile: BrowserContext, page: Page, site: Site, driver: SignIn
) -> None:
    sign_driver_in(page, site, driver)
    assert user_in(profile, site.admin) == driver.email
    copied = chromium.new_context(storage_state=profile.storage_state())
    assert user_in(copied, site.admin) == driver.email

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_label("Password")).to_be_visible()
    assert user_in(profile, site.customer) is None
    assert user_in(profile, site.admin) is None
    assert profile.cookies() == []
    assert user_in(copied, site.customer) is None, "the cookies of before still sign somebody in"
    copied.close()
