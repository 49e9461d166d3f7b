"""Mailed sign-in links: asking for one, and the page that uses it after a click (contract §5.3 to §5.5b)."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from gateway.auth.browser import Browser
from gateway.auth.cookies import set_session_cookies
from gateway.auth.forms import fields_of
from gateway.auth.magic_link import VERIFY_PAGE, LinkSignIn, owner_of_link, request_magic_link
from gateway.auth.mail_requests import (
    EmailRequired,
    InvalidEmail,
    InvalidJson,
    MailRequest,
    MailRequested,
    MailRequestRoute,
)
from gateway.auth.paths import InvalidCallback, only_on, own_path, require_own_path
from gateway.auth.schemas import MagicLinkRequest, MagicLinkRequested
from gateway.dependencies import CurrentSurface, Process, RequestOrigin, Resources, UnitOfWork, anyone, once
from gateway.landing.pages import page_with_form, page_with_link
from gateway.limits import (
    MAGIC_LINK_USE,
    MAIL_BY_ADDRESS,
    MAIL_TO_SUBJECT,
    MAIL_TO_SUBJECT_BY_ADDRESS,
    SIGN_IN,
    caller_site,
)
from gateway.settings import GatewaySettings
from polaris_common.http.errors import NotFound, ServiceUnavailable, errors
from polaris_common.http.limits import RateLimited
from polaris_common.http.surfaces import Surface
from polaris_common.models import Role

TOKEN_CHARACTERS_COUNTED = 16
MAX_TOKEN_LENGTH = 512
LOGIN_PAGE = "/login"

PROBLEMS = {
    "missing_token": "This link is not complete. Open it again from the mail, or ask for a new one.",
    "invalid_or_expired": "This link has expired or was used before. Ask for a new one.",
}


class MailNotConfigured(ServiceUnavailable):
    """No mail can be sent (contract §5.3)."""

    code, message = "Email worker is not configured", "Signing in by mail is not available here."

    def __init__(self) -> None:
        super().__init__(fields={"retry": False})


class MagicLinkRoute(MailRequestRoute):
    """Where magic links are asked for."""

    def require_mail(self, settings: GatewaySettings) -> None:
        """Pass where mail is configured.

        Raises:
            MailNotConfigured: it is not.
        """
        if not settings.mail_enabled:
            raise MailNotConfigured


requests = APIRouter(
    prefix="/api/auth", tags=["sign-in"], dependencies=[Depends(anyone), Depends(once)], route_class=MagicLinkRoute
)
router = APIRouter(tags=["sign-in"], dependencies=[Depends(anyone)])

_REFUSALS = errors(MailNotConfigured, InvalidJson, EmailRequired, InvalidEmail, RateLimited)


@requests.post("/magic-link/preflight", responses=_REFUSALS)
async def preflight(
    body: MailRequest, request: Request, process: Process, uow: UnitOfWork, origin: RequestOrigin
) -> MailRequested:
    """Mail a sign-in link to a driver. The answer is the same for every address, and takes as long."""
    email = body.address()
    await _count(request, process, email)
    await request_magic_link(uow, process.settings, process.audit, email, callback="/", origin=origin)
    return MailRequested()


@requests.post("/sign-in/magic-link", responses=_REFUSALS | errors(InvalidCallback))
async def sign_in_magic_link(
    body: MagicLinkRequest, request: Request, process: Process, uow: UnitOfWork, origin: RequestOrigin
) -> MagicLinkRequested:
    """The same as the preflight, with the path to return to."""
    email, callback = body.address(), require_own_path(body.callback_url) or "/"
    await _count(request, process, email)
    await request_magic_link(uow, process.settings, process.audit, email, callback=callback, origin=origin)
    return MagicLinkRequested()


@router.get("/api/auth/magic-link/verify", include_in_schema=False)
def old_link(request: Request, surface: CurrentSurface) -> Response:
    """Where older mails lead: on to the page that asks for a click."""
    only_on(Surface.CUSTOMER, surface)
    query = request.url.query
    return RedirectResponse(f"{VERIFY_PAGE}?{query}" if query else VERIFY_PAGE, status_code=302)


@router.get(VERIFY_PAGE, response_class=HTMLResponse, responses=errors(NotFound))
async def verify_page(
    surface: CurrentSurface,
    uow: UnitOfWork,
    token: Annotated[str, Query(max_length=MAX_TOKEN_LENGTH)] = "",
    callback: Annotated[str, Query(alias="callbackURL", max_length=2000)] = "/",
    error: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """A page with a button. Looking at it uses nothing up, so that programs which open mailed links do no harm."""
    only_on(Surface.CUSTOMER, surface)
    if error:
        return _failure(error)
    if not token:
        return _failure("missing_token")
    user = await owner_of_link(uow, token)
    if user is None or user.role != Role.CUSTOMER:
        return _failure("invalid_or_expired")
    return page_with_form(
        "Sign in",
        f"Sign in as {_masked(user.email or '')}",
        action=VERIFY_PAGE,
        fields={"token": token, "callbackURL": own_path(callback)},
        label="Sign in",
    )


@router.get("/m/{token}", response_class=HTMLResponse, responses=errors(NotFound))
async def link_page(token: str, surface: CurrentSurface, uow: UnitOfWork) -> HTMLResponse:
    """The same page under the short link that the app opens when it is installed."""
    return await verify_page(surface, uow, token[: MAX_TOKEN_LENGTH + 1])


@router.post(VERIFY_PAGE, responses=errors(NotFound, RateLimited), status_code=302, response_class=RedirectResponse)
async def verify(request: Request, process: Process, surface: CurrentSurface, origin: RequestOrigin) -> Response:
    """Use a link up and sign its driver in, then go on to ``callbackURL``; form or JSON."""
    only_on(Surface.CUSTOMER, surface)
    fields = await fields_of(request)
    token = _text(fields, "token")
    if not token:
        return _redirect(VERIFY_PAGE, error="missing_token")
    await process.limits.spend(SIGN_IN, "magic-link", caller_site(request))
    await process.limits.spend(MAGIC_LINK_USE, token[:TOKEN_CHARACTERS_COUNTED], caller_site(request))
    sign_in = LinkSignIn(process.database, process.settings, process.audit)
    opened = await sign_in.sign_in(token, browser=Browser.of(request, process.settings), origin=origin)
    if opened is None:
        return _redirect(VERIFY_PAGE, error="invalid_or_expired")
    response = _redirect(own_path(_text(fields, "callbackURL") or "/"))
    set_session_cookies(response, process.settings, opened)
    return response


async def _count(request: Request, process: Resources, email: str) -> None:
    site = caller_site(request)
    await process.limits.spend(MAIL_BY_ADDRESS, site)
    await process.limits.spend(MAIL_TO_SUBJECT, email)
    await process.limits.spend(MAIL_TO_SUBJECT_BY_ADDRESS, email, site)


def _failure(problem: str) -> HTMLResponse:
    text = PROBLEMS.get(problem, "Signing in did not work. Ask for a new link.")
    return page_with_link("This link does not work", text, label="Ask for a new link", address=LOGIN_PAGE)


def _redirect(path: str, **query: str) -> RedirectResponse:
    address = f"{path}?{urlencode(query)}" if query else path
    return RedirectResponse(address, status_code=302, headers={"cache-control": "no-store"})


def _masked(email: str) -> str:
    """Enough to recognise one's own address by."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}…@{domain}"


def _text(fields: Any, name: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""
