"""Signing in on a phone (contract §5.5, §5.6), on both hosts, and the cards that operators hand out."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from gateway.app_sign_in.cards import QrCards
from gateway.app_sign_in.schemas import AppSignInRead, MagicLinkSignInBody, QrCardRead, QrSignInBody
from gateway.app_sign_in.service import (
    AppSignIn,
    ConfirmationRequired,
    GuessingStopped,
    InvalidLink,
    NotACustomer,
    SignedInOnPhone,
)
from gateway.auth.cookies import browser_cookie, set_session_cookies
from gateway.dependencies import CurrentOperator, Process, RequestOrigin, UnitOfWork, anyone
from gateway.devices.enrolment import Enrolment
from gateway.exact_bodies import InvalidBody, SecretRoute
from gateway.limits import MAGIC_LINK_USE, QR_SIGN_IN, SIGN_IN, caller_site
from polaris_common.http.errors import NotFound, ServiceUnavailable, Unauthorized, errors
from polaris_common.http.limits import RateLimited

TOKEN_CHARACTERS_COUNTED = 16

router = APIRouter(prefix="/api/auth", tags=["sign-in"], dependencies=[Depends(anyone)], route_class=SecretRoute)
cards = APIRouter(prefix="/api/admin/user/{user_id}/qr", tags=["users"])


def app_sign_in(request: Request, process: Process, origin: RequestOrigin) -> AppSignIn:
    """Sign-in for whoever calls."""
    enrolment = Enrolment(process.audit, process.vault, origin)
    return AppSignIn(process.database, process.settings, enrolment, browser_cookie(request, process.settings))


SignInOnPhone = Annotated[AppSignIn, Depends(app_sign_in)]


@router.post(
    "/qr-sign-in",
    responses=errors(InvalidBody, NotFound, ConfirmationRequired, RateLimited, GuessingStopped, ServiceUnavailable),
)
async def qr_sign_in(
    body: QrSignInBody, request: Request, response: Response, process: Process, sign_in: SignInOnPhone
) -> AppSignInRead:
    """Sign a driver in with the number on their card."""
    await process.limits.spend(SIGN_IN, "qr", caller_site(request))
    await process.limits.spend(QR_SIGN_IN, body.user_public_id, caller_site(request))
    return _answer(response, process, await sign_in.with_card(body))


@router.post(
    "/magic-link/verify", responses=errors(InvalidBody, InvalidLink, NotACustomer, RateLimited, ServiceUnavailable)
)
async def magic_link_verify(
    body: MagicLinkSignInBody, request: Request, response: Response, process: Process, sign_in: SignInOnPhone
) -> AppSignInRead:
    """Sign a driver in with the token of a mailed link."""
    await process.limits.spend(SIGN_IN, "magic-link", caller_site(request))
    await process.limits.spend(MAGIC_LINK_USE, body.token[:TOKEN_CHARACTERS_COUNTED], caller_site(request))
    return _answer(response, process, await sign_in.with_link(body))


def operators_cards(uow: UnitOfWork, process: Process, origin: RequestOrigin, operator: CurrentOperator) -> QrCards:
    """Drivers' cards in the hands of the operator who calls."""
    return QrCards(uow, process.settings, process.audit, origin, operator)


Cards = Annotated[QrCards, Depends(operators_cards)]


@cards.get("", responses=errors(Unauthorized, NotFound))
async def read_card(user_id: UUID, cards: Cards) -> QrCardRead:
    """A driver's printed card."""
    return await cards.read(user_id)


@cards.post("/rotate", responses=errors(Unauthorized, NotFound))
async def rotate_card(user_id: UUID, cards: Cards) -> QrCardRead:
    """A new number for a driver's card; the old one stops working at once."""
    return await cards.rotate(user_id)


@cards.post("/disable", responses=errors(Unauthorized, NotFound))
async def disable_card(user_id: UUID, cards: Cards) -> QrCardRead:
    """Signing in with this card stops working."""
    return await cards.switch(user_id, enabled=False)


@cards.post("/enable", responses=errors(Unauthorized, NotFound))
async def enable_card(user_id: UUID, cards: Cards) -> QrCardRead:
    """Signing in with this card works again."""
    return await cards.switch(user_id, enabled=True)


def _answer(response: Response, process: Process, signed_in: SignedInOnPhone) -> AppSignInRead:
    set_session_cookies(response, process.settings, signed_in.session)
    return AppSignInRead.of(signed_in.user, signed_in.enrolled)
