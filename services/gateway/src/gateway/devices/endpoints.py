"""Devices: registering one, and what it does with itself (contract-devices §1.7, §1.9, §1.11)."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.auth.paths import only_on
from gateway.dependencies import (
    CurrentDevice,
    CurrentOperator,
    CurrentSession,
    CurrentSurface,
    Process,
    RequestOrigin,
    UnitOfWork,
    anyone,
    once,
)
from gateway.devices import locating, registration, service
from gateway.devices.enrolment import Enrolment
from gateway.devices.locating import NoPushToken, NotManaged, PushSendFailed
from gateway.devices.registration import (
    CodeExpired,
    InvalidCapabilities,
    InvalidCode,
    InvalidPlatform,
    InvalidVerifier,
)
from gateway.devices.schemas import LocateRead, MeRead, OkRead, PushTokenBody, RegisterBody, RegisterRead
from gateway.devices.service import DeviceDeleted
from gateway.exact_bodies import ExactRoute, Handler, InvalidBody, SecretRoute
from gateway.landing.pages import page, page_that_leads_to
from gateway.limits import DEVICE_REGISTRATION, limit
from polaris_common.http.errors import ApiError, Forbidden, NotFound, Unauthorized, errors
from polaris_common.http.limits import RateLimited
from polaris_common.http.surfaces import Surface
from polaris_common.identity.principals import Operator

CALLBACK = "expchg://register/callback?code="
FLOOR_MS = (50, 150)


class RegisterRoute(SecretRoute):
    """Every answer takes at least a random 50 to 150 ms, so that its time says nothing about the code."""

    refusals: ClassVar[Mapping[str, type[ApiError]]] = {
        "oneTimeCode": InvalidCode,
        "codeVerifier": InvalidVerifier,
        "platform": InvalidPlatform,
        "requestedCapabilities": InvalidCapabilities,
    }

    def get_route_handler(self) -> Handler:
        """As ``SecretRoute``'s, not faster than the floor."""
        handle = super().get_route_handler()

        async def slow(request: Request) -> Response:
            least, most = FLOOR_MS
            floor = asyncio.create_task(asyncio.sleep((least + secrets.randbelow(most - least + 1)) / 1000))
            try:
                return await handle(request)
            finally:
                await floor

        return slow


pages = APIRouter(tags=["devices"], dependencies=[Depends(anyone)])
registering = APIRouter(
    prefix="/api/devices", tags=["devices"], dependencies=[Depends(anyone)], route_class=RegisterRoute
)
router = APIRouter(prefix="/api/devices", tags=["devices"], route_class=ExactRoute)
of_operators = APIRouter(prefix="/api/admin/devices", tags=["devices"])


@pages.get("/app/register", response_class=HTMLResponse, responses=errors(NotFound))
async def registration_page(
    request: Request,
    *,
    process: Process,
    session: CurrentSession,
    surface: CurrentSurface,
    challenge: Annotated[str, Query(alias="codeChallenge")] = "",
    label: str = registration.DEFAULT_LABEL,
) -> Response:
    """Give the app of a signed-in operator a code for registering, by leading on to the app's own address.

    Loading the page makes the code; it is worthless without the verifier, which only the app that asked has.
    """
    only_on(Surface.ADMIN, surface)
    if session is None:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 302)
    operator = session.principal
    if not isinstance(operator, Operator):
        return RedirectResponse(process.settings.customer_base_url, 302)
    if not registration.is_challenge(challenge):
        return page("Start from the app", "This page registers a device. Open it from the app, not by its address.")
    async with process.database.unit_of_work() as uow:
        code = await registration.mint(uow, operator, challenge=challenge, label=label)
    answer = page_that_leads_to(CALLBACK + code, title="Registering this device", label="Back to the app")
    answer.headers["pragma"] = "no-cache"
    return answer


@registering.post(
    "/register",
    dependencies=[Depends(limit(DEVICE_REGISTRATION)), Depends(once)],
    responses=errors(
        InvalidCode, InvalidVerifier, InvalidPlatform, InvalidCapabilities, InvalidBody, CodeExpired, RateLimited
    ),
)
async def register(body: RegisterBody, process: Process, origin: RequestOrigin) -> RegisterRead:
    """Redeem a code from ``/app/register`` for a device with its credentials, which are shown this once."""
    enrolled = await registration.register(process.database, Enrolment(process.audit, process.vault, origin), body)
    device, credentials = enrolled.device, enrolled.credentials
    return RegisterRead(
        device_id=device.id,
        device_token=credentials.token,
        device_secret=credentials.secret,
        capabilities=device.capabilities,
        expires_at_iso=credentials.expires_at,
    )


@router.get("/me", responses=errors(Unauthorized, DeviceDeleted))
async def me(device: CurrentDevice, uow: UnitOfWork) -> MeRead:
    """Which device this is, and whose."""
    return await service.read_me(uow, device)


@router.put("/{device_id}/push-token", responses=errors(Unauthorized, NotFound, Forbidden, InvalidBody, DeviceDeleted))
async def put_push_token(device_id: str, body: PushTokenBody, device: CurrentDevice, uow: UnitOfWork) -> OkRead:
    """Where to push to this device."""
    await service.set_push_token(uow, device, device_id, body)
    return OkRead()


@router.delete("/{device_id}", responses=errors(Unauthorized, NotFound, Forbidden, DeviceDeleted))
async def deregister_self(
    device_id: str, device: CurrentDevice, uow: UnitOfWork, process: Process, origin: RequestOrigin
) -> OkRead:
    """Sign this device out for good: its token stops working and its tag is blocked."""
    await service.deregister_self(uow, Enrolment(process.audit, process.vault, origin), device, device_id)
    return OkRead()


@of_operators.post(
    "/{device_id}/locate",
    status_code=202,
    responses=errors(Unauthorized, NotFound, NotManaged, NoPushToken, PushSendFailed),
)
async def locate(device_id: str, operator: CurrentOperator, uow: UnitOfWork, process: Process) -> LocateRead:
    """Ask a managed device where it is, by a silent push; its next sync tells."""
    correlation_id = await locating.ask(uow, device_id, push_enabled=process.settings.push_enabled)
    return LocateRead(correlation_id=correlation_id)
