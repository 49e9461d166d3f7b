"""Signing in with an identity provider (contract §5.7); on the operators' host."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.auth.browser import Browser
from gateway.auth.cookies import set_session_cookies
from gateway.auth.paths import InvalidCallback, only_on, require_own_path
from gateway.dependencies import CurrentSurface, Process, RequestOrigin, Resources, anyone
from gateway.landing.pages import page_with_link
from gateway.limits import SIGN_IN, caller_site
from gateway.oidc.schemas import OidcStart, OidcStarted
from gateway.oidc.service import (
    CALLBACK_PATH,
    ERROR_PAGE,
    PROVIDER_ID,
    STATE_LIFETIME,
    Answer,
    Finished,
    OidcSignIn,
)
from gateway.settings import GatewaySettings
from gateway.surfaces import OriginMismatch
from polaris_common.http.errors import ApiError, NotFound, errors
from polaris_common.http.limits import RateLimited
from polaris_common.http.surfaces import Surface
from polaris_common.identity.oidc import OidcError

router = APIRouter(tags=["sign-in"], dependencies=[Depends(anyone)])

COOKIE_PATH = "/api/auth/oauth2"

EXPLANATIONS = {
    "state_mismatch": "This sign-in took too long, was used before or began in another browser. Start again.",
    "not_a_member": "Your account is not in the group that may operate this installation.",
    "account_not_linked": "Nobody here is an operator with your verified e-mail address. Ask a superadmin to add you.",
    "role_mismatch": "Your e-mail address belongs to a driver's account here, which cannot operate this installation.",
    "email_is_missing": "Your identity provider does not tell us your e-mail address.",
    "access_denied": "You or your identity provider stopped the sign-in.",
    "provider_unreachable": "Your identity provider does not answer. Try again in a moment.",
}


class ProviderNotFound(ApiError):
    """No such identity provider is set up, or it does not describe itself."""

    status, code, message = 400, "provider_not_found", "There is no such identity provider."


@router.post(
    "/api/auth/sign-in/oauth2",
    responses=errors(NotFound, ProviderNotFound, InvalidCallback, OriginMismatch, RateLimited),
)
async def start(
    body: OidcStart, request: Request, response: Response, process: Process, surface: CurrentSurface
) -> OidcStarted:
    """Where to send the browser to sign in as an operator."""
    only_on(Surface.ADMIN, surface)
    callback = require_own_path(body.callback_url) or "/"
    error_callback = require_own_path(body.error_callback_url)
    if body.provider_id != PROVIDER_ID:
        raise ProviderNotFound
    await process.limits.spend(SIGN_IN, "oidc", caller_site(request))
    try:
        started = await _sign_in(process).start(callback=callback, error_callback=error_callback)
    except OidcError:
        raise ProviderNotFound("The identity provider does not answer as it should.") from None
    _set_cookie(response, process.settings, started.cookie, int(STATE_LIFETIME.total_seconds()))
    response.headers["cache-control"] = "no-store"
    return OidcStarted(url=started.url)


@router.get(CALLBACK_PATH, status_code=302, response_class=RedirectResponse, responses=errors(NotFound))
async def finish(
    *,
    request: Request,
    process: Process,
    surface: CurrentSurface,
    origin: RequestOrigin,
    state: Annotated[str | None, Query(max_length=512)] = None,
    code: Annotated[str | None, Query(max_length=4096)] = None,
    iss: Annotated[str | None, Query(max_length=2000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Where the identity provider sends the browser back to."""
    only_on(Surface.ADMIN, surface)
    finished = await _sign_in(process).finish(
        Answer(state=state, code=code, iss=iss, error=error),
        cookie=request.cookies.get(_cookie_name(process.settings)),
        browser=Browser.of(request, process.settings),
        origin=origin,
    )
    response = RedirectResponse(_address(finished), status_code=302, headers={"cache-control": "no-store"})
    _set_cookie(response, process.settings, "", 0)
    if finished.opened is not None:
        set_session_cookies(response, process.settings, finished.opened)
    return response


@router.get(ERROR_PAGE, response_class=HTMLResponse)
def explain(error: Annotated[str, Query(max_length=64)] = "") -> HTMLResponse:
    """Why signing in did not work."""
    text = EXPLANATIONS.get(error, "Signing in did not work. Start again.")
    return page_with_link("Not signed in", text, label="Back to sign-in", address="/login")


def _sign_in(process: Resources) -> OidcSignIn:
    if process.oidc is None:
        raise ProviderNotFound
    return OidcSignIn(process.oidc, process.database, process.settings, process.audit)


def _address(finished: Finished) -> str:
    if finished.error is None:
        return finished.path
    joint = "&" if "?" in finished.path else "?"
    return f"{finished.path}{joint}{urlencode({'error': finished.error})}"


def _cookie_name(settings: GatewaySettings) -> str:
    return "__Secure-polaris.oidc" if settings.secure_cookies else "polaris.oidc"


def _set_cookie(response: Response, settings: GatewaySettings, value: str, max_age: int) -> None:
    """For the operators' host alone, and there only where the provider sends browsers back to."""
    response.set_cookie(
        _cookie_name(settings),
        value,
        max_age=max_age,
        path=COOKIE_PATH,
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
