"""Signing in with a password, signing out, who is signed in, and how one may sign in (contract §5.8, §5.9)."""

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from gateway.auth.browser import Browser
from gateway.auth.cookies import browser_cookie, clear_session_cookies, set_session_cookies
from gateway.auth.failures import Failures
from gateway.auth.forms import fields_of
from gateway.auth.methods import login_methods
from gateway.auth.paths import InvalidCallback, require_own_path
from gateway.auth.schemas import LoginMethods, SessionAndUserRead, SignInEmail, SignInRead, SignOutRead, UserRead
from gateway.auth.service import InvalidEmailOrPassword, PasswordSignIn, PasswordSignInDisabled, TooManyFailures
from gateway.dependencies import (
    CurrentSession,
    CurrentSurface,
    Process,
    RequestOrigin,
    SessionToken,
    UnitOfWork,
    anyone,
)
from gateway.limits import SIGN_IN, caller_site
from gateway.surfaces import OriginMismatch
from polaris_common.http.errors import BodyTooLarge, NotFound, ServiceUnavailable, errors
from polaris_common.http.surfaces import Surface
from polaris_common.identity.sessions import close_browser

router = APIRouter(prefix="/api/auth", tags=["sign-in"], dependencies=[Depends(anyone)])


@router.post(
    "/sign-in/email",
    responses=errors(
        InvalidEmailOrPassword,
        PasswordSignInDisabled,
        TooManyFailures,
        OriginMismatch,
        InvalidCallback,
        BodyTooLarge,
        ServiceUnavailable,
    ),
)
async def sign_in_email(
    request: Request, response: Response, process: Process, surface: CurrentSurface, origin: RequestOrigin
) -> SignInRead:
    """Sign in with e-mail address and password, as JSON or as a form. The token goes into an HttpOnly cookie only."""
    form = await _form(request)
    callback = require_own_path(form.callback_url)
    await process.limits.spend(SIGN_IN, "password", caller_site(request))
    failures = Failures(process.settings.auth_secret.get_secret_value())
    sign_in = PasswordSignIn(process.database, process.settings, process.audit, failures)
    browser = Browser.of(request, process.settings)
    signed_in = await sign_in.sign_in(form, surface=surface, browser=browser, origin=origin)
    set_session_cookies(response, process.settings, signed_in.opened)
    response.headers["cache-control"] = "no-store"
    if callback is not None:
        response.headers["location"] = callback
    return SignInRead(redirect=callback is not None, url=callback, user=UserRead.of(signed_in.user))


@router.post("/sign-out", responses=errors(OriginMismatch))
async def sign_out(
    request: Request, response: Response, process: Process, token: SessionToken, uow: UnitOfWork
) -> SignOutRead:
    """End every session of this browser; safe without one."""
    await close_browser(uow, token, browser_cookie(request, process.settings))
    clear_session_cookies(response, process.settings)
    return SignOutRead()


@router.get("/get-session")
async def get_session(response: Response, session: CurrentSession) -> SessionAndUserRead | None:
    """Who is signed in, or null."""
    response.headers["cache-control"] = "no-store"
    return None if session is None else SessionAndUserRead.of(session)


@router.get("/login-methods", responses=errors(NotFound))
async def methods(process: Process, surface: CurrentSurface, uow: UnitOfWork) -> LoginMethods:
    """The ways of signing in that are open on this host; ``message`` says so when there is none."""
    return await login_methods(uow, process.settings, _known(surface))


@router.get("/admin-login-options", responses=errors(NotFound))
async def admin_login_options(process: Process, surface: CurrentSurface, uow: UnitOfWork) -> LoginMethods:
    """The same for the operators' sign-in page."""
    if surface is not Surface.ADMIN:
        raise NotFound
    return await login_methods(uow, process.settings, surface)


def _known(surface: Surface | None) -> Surface:
    if surface is None:
        raise NotFound
    return surface


async def _form(request: Request) -> SignInEmail:
    try:
        return SignInEmail.model_validate(await fields_of(request))
    except ValidationError as problem:
        raise RequestValidationError(problem.errors(include_input=False, include_context=False)) from None
