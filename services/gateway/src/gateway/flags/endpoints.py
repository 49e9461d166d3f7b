"""Feature flags, for operators (contract-admin §15.7, §15.8, §20.12; contract-devices §1.17)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from gateway.dependencies import CurrentOperator, Process, RequestOrigin, UnitOfWork
from gateway.exact_bodies import ExactRoute, InvalidBody
from gateway.flags import repository
from gateway.flags.schemas import FlagChanges, FlagList, FlagsChanged, GlobalFlagsChanged
from gateway.flags.service import DeviceGone, DeviceNotFound, FlagWriter, InvalidFlag, InvalidValue, UserNotFound
from polaris_common.feature_flags import global_values, user_values
from polaris_common.http.conditional import conditional
from polaris_common.http.errors import errors

router = APIRouter(prefix="/api/admin", tags=["feature flags"], route_class=ExactRoute)


def writer(operator: CurrentOperator, uow: UnitOfWork, process: Process, origin: RequestOrigin) -> FlagWriter:
    """What sets flags for this request."""
    return FlagWriter(uow, process.audit, operator, origin)


Writer = Annotated[FlagWriter, Depends(writer)]


@router.get("/feature-flags", response_model=FlagList)
async def list_feature_flags(request: Request, operator: CurrentOperator, uow: UnitOfWork) -> Response:
    """Every flag there is, with what is set for everybody."""
    values = await global_values(uow)
    return conditional(request, FlagList.of(values, values))


@router.patch("/feature-flags", responses=errors(InvalidBody, InvalidFlag, InvalidValue))
async def set_global_feature_flags(changes: FlagChanges, flags: Writer) -> GlobalFlagsChanged:
    """Set flags for everybody who has no value of their own."""
    return GlobalFlagsChanged(changed_keys=await flags.for_everybody(changes))


@router.get("/users/{user_id}/feature-flags", response_model=FlagList, responses=errors(UserNotFound))
async def list_user_feature_flags(
    request: Request, user_id: UUID, operator: CurrentOperator, uow: UnitOfWork
) -> Response:
    """Every flag there is, with what holds for one person and which tier says so."""
    if not await repository.user_exists(uow, user_id):
        raise UserNotFound
    everybody = await global_values(uow)
    return conditional(request, FlagList.of(await user_values(uow, user_id), everybody))


@router.patch("/users/{user_id}/feature-flags", responses=errors(InvalidBody, InvalidFlag, InvalidValue, UserNotFound))
async def set_user_feature_flags(user_id: UUID, changes: FlagChanges, flags: Writer) -> FlagsChanged:
    """Set flags for one person; their devices hear of it."""
    return FlagsChanged(flags=await flags.for_user(user_id, changes))


@router.patch(
    "/devices/{device_id}/feature-flags",
    responses=errors(InvalidBody, InvalidFlag, InvalidValue, DeviceNotFound, DeviceGone),
)
async def set_device_feature_flags(device_id: UUID, changes: FlagChanges, flags: Writer) -> FlagsChanged:
    """Set flags on one device; it hears of it."""
    return FlagsChanged(flags=await flags.for_device(device_id, changes))
