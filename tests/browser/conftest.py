"""One installation of real processes and one Chromium for the run; a browser profile of its own for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from polaris_cli.demo.people import drivers
from polaris_cli.stack.ports import free_ports
from tests.browser.site import SignIn, Site
from tests.support.demo import running_demo

PATIENCE_SECONDS = 30
"""For one condition to come true in the browser."""
MORE_SIGN_INS = {"RATE_LIMIT_SCALE": "20"}
"""All tests sign in from one address, within a minute."""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CARS = 6


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The demo, on a free port."""
    with tempfile.TemporaryDirectory(prefix="polaris-browser-") as folder:
        (port,) = free_ports(1)
        with running_demo(Path(folder), port, MORE_SIGN_INS) as (_, ready):
            yield Site(
                customer=ready["customer"],
                admin=ready["admin"],
                mailbox=ready["mailbox"],
                operator=SignIn(**ready["operator"]),
                drivers=[SignIn(person.email, ready["driver"]["password"]) for person in drivers(CARS, "")],
            )


@pytest.fixture(scope="session")
def _all_drivers(site: Site) -> Iterator[SignIn]:
    return cycle(site.drivers)


@pytest.fixture
def driver(_all_drivers: Iterator[SignIn]) -> SignIn:
    """A driver of whom the tests just before know nothing: every address gets only so many mails."""
    return next(_all_drivers)


@pytest.fixture
def stranger(_all_drivers: Iterator[SignIn]) -> SignIn:
    """Another driver."""
    return next(_all_drivers)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    path = shutil.which("chromium")
    assert path is not None, "These tests need Debian's package chromium; `make test-browser` says how to get it."
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A person's browser, without any cookie."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    """A tab in it."""
    return profile.new_page()
