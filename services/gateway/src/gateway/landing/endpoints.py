"""What a phone's camera opens: association with the app, and pages for people without it."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse, JSONResponse

from gateway.auth.paths import only_on
from gateway.dependencies import CurrentSurface, Process, anyone
from gateway.landing.pages import page, page_with_link
from gateway.landing.repository import charger_exists
from polaris_common.http.errors import NotFound, errors
from polaris_common.http.surfaces import Surface
from polaris_common.ids import PUBLIC_ID_ALPHABET, PUBLIC_ID_LENGTH

router = APIRouter(tags=["landing"], dependencies=[Depends(anyone)])

APP_PATHS = ("/app/register/*", "/c/*", "/u/*", "/m/*")
"""The links that the app opens instead of the browser."""


@router.get("/.well-known/apple-app-site-association")
def apple_app_site_association(process: Process) -> Response:
    """Tells iPhones which of our links belong to the app; names no app until ``APNS_TEAM_ID`` is set."""
    settings = process.settings
    details: list[dict[str, Any]] = []
    if settings.apns_team_id:
        app_id = f"{settings.apns_team_id}.{settings.apns_topic}"
        details.append({"appIDs": [app_id], "components": [{"/": path} for path in APP_PATHS]})
    return JSONResponse(
        {"applinks": {"apps": [], "details": details}}, headers={"cache-control": "public, max-age=3600"}
    )


@router.get("/c/{public_id}", response_class=HTMLResponse, responses=errors(NotFound))
async def charger_page(public_id: str, surface: CurrentSurface, process: Process) -> HTMLResponse:
    """What the sticker on a charger leads to without the app."""
    only_on(Surface.CUSTOMER, surface)
    if not is_public_id(public_id):
        return page("No such charger", "There is no charger with this number.", status=404)
    async with process.database.unit_of_work() as uow:
        if not await charger_exists(uow, public_id):
            return page("No such charger", "There is no charger with this number.", status=404)
    return page_with_link(
        f"Charger {public_id}",
        "Open the app to charge here, or sign in on the web and hold your card to the charger.",
        label="Sign in",
        address=f"/login?scan=1&chargeBoxId={public_id}",
    )


@router.get("/u/{public_id}", response_class=HTMLResponse, responses=errors(NotFound))
def card_page(public_id: str, surface: CurrentSurface) -> HTMLResponse:
    """What a driver's card leads to without the app. The same for every number: it tells nothing about anybody."""
    only_on(Surface.CUSTOMER, surface)
    return page_with_link(
        "Charging card",
        "Open this link on a phone with the app to sign in. Without the app, sign in on the web.",
        label="Sign in",
        address="/login",
    )


def is_public_id(text: str) -> bool:
    """Whether ``text`` has the form of a public id."""
    return len(text) == PUBLIC_ID_LENGTH and all(symbol in PUBLIC_ID_ALPHABET for symbol in text)
