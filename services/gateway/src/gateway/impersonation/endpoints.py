"""Viewing a driver's account as an operator (contract §4.23, §4.24)."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.dependencies import Process, RequestOrigin, SignedInSession, UnitOfWork
from gateway.impersonation import service
from gateway.impersonation.schemas import ImpersonationEnded, ImpersonationStart, ImpersonationStarted
from gateway.impersonation.service import AlreadyImpersonating, CannotImpersonateYourself, CustomerNotFound
from polaris_common.http.errors import Forbidden, Unauthorized, errors

router = APIRouter(prefix="/api/customer/impersonation", tags=["impersonation"])

As = Annotated[str | None, Query(alias="as", max_length=64)]


@router.post(
    "/start",
    responses=errors(Unauthorized, Forbidden, AlreadyImpersonating, CannotImpersonateYourself, CustomerNotFound),
)
async def start(
    *,
    body: ImpersonationStart,
    signed_in: SignedInSession,
    process: Process,
    uow: UnitOfWork,
    origin: RequestOrigin,
    as_text: As = None,
) -> ImpersonationStarted:
    """View a driver's account for half an hour, read-only. For operators."""
    await service.refuse_non_operator(process.database, process.audit, signed_in, origin)
    started = await service.start(uow, process.audit, signed_in, body.customer_user_id, as_text=as_text, origin=origin)
    return ImpersonationStarted.of(started)


@router.post("/end", responses=errors(Unauthorized, Forbidden))
async def end(
    signed_in: SignedInSession, process: Process, uow: UnitOfWork, origin: RequestOrigin, as_text: As = None
) -> ImpersonationEnded:
    """Stop viewing; safe when nothing is viewed. For operators."""
    await service.refuse_non_operator(process.database, process.audit, signed_in, origin)
    await service.end(uow, process.audit, signed_in, as_text=as_text, origin=origin)
    return ImpersonationEnded(redirect_to=process.settings.admin_base_url)
