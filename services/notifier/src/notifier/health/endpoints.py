"""Probes for the container runtime."""

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends

from notifier.admission import anyone
from notifier.outages import DATABASE_OUTAGE
from notifier.process import Notifier, notifier_of
from polaris_common.http.errors import ServiceUnavailable, errors

PING_SECONDS = 3.0

log = structlog.get_logger(__name__)
router = APIRouter(tags=["health"], dependencies=[Depends(anyone)])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses=errors(ServiceUnavailable))
async def readyz(notifier: Annotated[Notifier, Depends(notifier_of)]) -> dict[str, str]:
    """New streams can be opened here: the database answers. Redis may be away; then telemetry pauses."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await notifier.database.ping()
    except DATABASE_OUTAGE as error:
        log.warning("not_ready", error=type(error).__name__)
        raise ServiceUnavailable from error
    return {"status": "ok"}
