"""Sessions in people's own hands: theirs on every device, and everybody's in this browser (contract §5.10)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from gateway.auth.cookies import browser_cookie, clear_session_cookies, set_session_cookies
from gateway.auth.schemas import (
    BrowserAccountRead,
    Done,
    OwnSessionRead,
    SessionAndUserRead,
    SessionChoice,
    SessionRead,
    SessionToRevoke,
)
from gateway.dependencies import (
    CurrentSession,
    Process,
    RequestOrigin,
    Resources,
    SignedInSession,
    UnitOfWork,
    anyone,
)
from gateway.surfaces import OriginMismatch
from polaris_common.db import UnitOfWork as Transaction
from polaris_common.http.errors import Unauthorized, errors
from polaris_common.identity import sessions
from polaris_common.identity.audit import AuditEvent, Origin
from polaris_common.identity.sessions import SignedIn

browser_router = APIRouter(prefix="/api/auth/multi-session", tags=["sign-in"], dependencies=[Depends(anyone)])
router = APIRouter(prefix="/api/auth", tags=["sign-in"])


class InvalidSessionToken(Unauthorized):
    """This browser has no such session."""

    code, message = "invalid_session_token", "There is no such session."


@browser_router.get("/list-device-sessions")
async def list_device_sessions(
    request: Request, response: Response, process: Process, uow: UnitOfWork, session: CurrentSession
) -> list[BrowserAccountRead]:
    """Who is signed in in this browser, in the order of their signing in."""
    response.headers["cache-control"] = "no-store"
    active = session.session_id if session else None
    found = await _in_browser(request, process, uow)
    return [BrowserAccountRead.of(each, active=each.session_id == active) for each in found]


@browser_router.post("/set-active", responses=errors(InvalidSessionToken, OriginMismatch))
async def set_active(
    body: SessionChoice, request: Request, response: Response, process: Process, uow: UnitOfWork
) -> SessionAndUserRead:
    """Go on as somebody else who is signed in in this browser. The token of before is of no use afterwards."""
    return SessionAndUserRead.of(await _activate(_id(body.session_token), request, response, process, uow))


@router.post("/multi-session/revoke", responses=errors(Unauthorized, InvalidSessionToken, OriginMismatch))
async def revoke_in_browser(
    *,
    body: SessionChoice,
    request: Request,
    response: Response,
    signed_in: SignedInSession,
    process: Process,
    uow: UnitOfWork,
    origin: RequestOrigin,
) -> Done:
    """Sign somebody out of this browser; when it was the active one, the next goes on."""
    wanted = _id(body.session_token)
    found = {each.session_id: each for each in await _in_browser(request, process, uow)}
    if wanted not in found:
        raise InvalidSessionToken
    user_id = found[wanted].user.id
    await sessions.revoke(uow, user_id, wanted)
    await _audit(process, uow, origin, user_id, targetUserId=str(user_id), targetSessionId=str(wanted))
    if wanted == signed_in.session_id:
        others = [each for each in found if each != wanted]
        if others:
            await _activate(others[0], request, response, process, uow)
        else:
            clear_session_cookies(response, process.settings)
    return Done()


@router.get("/list-sessions", responses=errors(Unauthorized))
async def list_sessions(response: Response, signed_in: SignedInSession, uow: UnitOfWork) -> list[OwnSessionRead]:
    """Where the caller is signed in, latest used first."""
    response.headers["cache-control"] = "no-store"
    found = await sessions.sessions_of_user(uow, signed_in.user.id)
    return [
        OwnSessionRead(**SessionRead.of(each).model_dump(), current=each.id == signed_in.session_id) for each in found
    ]


@router.post("/revoke-session", responses=errors(Unauthorized, InvalidSessionToken, OriginMismatch))
async def revoke_session(
    *,
    body: SessionToRevoke,
    response: Response,
    signed_in: SignedInSession,
    process: Process,
    uow: UnitOfWork,
    origin: RequestOrigin,
) -> Done:
    """End one of the caller's sessions, on whatever device."""
    wanted, user_id = _id(body.token), signed_in.user.id
    if not await sessions.revoke(uow, user_id, wanted):
        raise InvalidSessionToken
    await _audit(process, uow, origin, user_id, targetUserId=str(user_id), targetSessionId=str(wanted))
    if wanted == signed_in.session_id:
        clear_session_cookies(response, process.settings)
    return Done()


@router.post("/revoke-other-sessions", responses=errors(Unauthorized, OriginMismatch))
async def revoke_other_sessions(
    signed_in: SignedInSession, process: Process, uow: UnitOfWork, origin: RequestOrigin
) -> Done:
    """End the caller's sessions on all other devices."""
    user_id = signed_in.user.id
    revoked = await sessions.revoke_all(uow, user_id, but=signed_in.session_id)
    await _audit(process, uow, origin, user_id, targetUserId=str(user_id), revoked=revoked)
    return Done()


@router.post("/revoke-sessions", responses=errors(Unauthorized, OriginMismatch))
async def revoke_sessions(
    response: Response, signed_in: SignedInSession, process: Process, uow: UnitOfWork, origin: RequestOrigin
) -> Done:
    """End all of the caller's sessions, this one too."""
    user_id = signed_in.user.id
    revoked = await sessions.revoke_all(uow, user_id)
    await _audit(process, uow, origin, user_id, targetUserId=str(user_id), revoked=revoked)
    clear_session_cookies(response, process.settings)
    return Done()


async def _in_browser(request: Request, process: Resources, uow: Transaction) -> Sequence[SignedIn]:
    lifetime = process.settings.customer_lifetime
    cookie = browser_cookie(request, process.settings)
    return await sessions.sessions_of_browser(uow, cookie, customer_lifetime=lifetime)


async def _activate(
    session_id: UUID, request: Request, response: Response, process: Resources, uow: Transaction
) -> SignedIn:
    activated = await sessions.activate(
        uow,
        session_id,
        browser=browser_cookie(request, process.settings),
        customer_lifetime=process.settings.customer_lifetime,
    )
    if activated is None:
        raise InvalidSessionToken
    opened, signed_in = activated
    set_session_cookies(response, process.settings, opened)
    response.headers["cache-control"] = "no-store"
    return signed_in


async def _audit(process: Resources, uow: Transaction, origin: Origin, user_id: UUID, **details: Any) -> None:
    await process.audit.record(uow, AuditEvent.SESSION_REVOKED, origin, user_id=user_id, **details)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidSessionToken from None
