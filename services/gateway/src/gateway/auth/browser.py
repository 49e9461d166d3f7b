"""Signing a person in in a browser: the one place that every way of signing in ends in."""

from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from gateway.auth.cookies import browser_cookie
from gateway.settings import GatewaySettings
from polaris_common.db import UnitOfWork
from polaris_common.identity.sessions import Opened, lifetime_of, open_in_browser
from polaris_common.models import User

MAX_USER_AGENT_LENGTH = 500


@dataclass(frozen=True)
class Browser:
    """The browser that a request comes from."""

    cookie: str | None
    ip_address: str | None
    user_agent: str | None

    @classmethod
    def of(cls, request: Request, settings: GatewaySettings) -> Self:
        """The one that sent ``request``."""
        user_agent = request.headers.get("user-agent")
        return cls(
            cookie=browser_cookie(request, settings),
            ip_address=request.client.host if request.client else None,
            user_agent=user_agent and user_agent[:MAX_USER_AGENT_LENGTH],
        )


async def sign_in_browser(
    uow: UnitOfWork, settings: GatewaySettings, user: User, browser: Browser, *, remember: bool = True
) -> Opened:
    """Sign ``user`` in; whoever proved who they are must have checked their role before.

    The caller commits and then puts the cookies onto its answer with ``set_session_cookies``.
    """
    lifetime = lifetime_of(user, customer_lifetime=settings.customer_lifetime, remembered=remember)
    return await open_in_browser(
        uow,
        user,
        lifetime=lifetime,
        browser=browser.cookie,
        remembered=remember,
        ip_address=browser.ip_address,
        user_agent=browser.user_agent,
    )
