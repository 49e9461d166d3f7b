"""Health: for people and monitors (``/api/health``) and for containers (``/livez``, ``/readyz``, ``/healthz``)."""

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse

from gateway.dependencies import Process, monitor
from gateway.health.schemas import HealthRead, Status
from polaris_common.http.errors import ServiceUnavailable, errors

router = APIRouter(tags=["health"], dependencies=[Depends(monitor)])


@router.get("/api/health", response_model=HealthRead, responses={503: {"model": HealthRead}})
async def health(process: Process) -> JSONResponse:
    """How the platform is doing; 503 only when nothing can work."""
    found = await process.health.health()
    return JSONResponse(
        found.model_dump(mode="json", by_alias=True, exclude_none=True),
        status_code=503 if found.status is Status.UNHEALTHY else 200,
        headers={"cache-control": "no-store"},
    )


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz", responses=errors(ServiceUnavailable))
@router.get("/healthz", responses=errors(ServiceUnavailable))
async def ready(process: Process) -> dict[str, str]:
    """The process can serve: the database answers."""
    if not await process.health.database_reachable():
        raise ServiceUnavailable
    return {"status": "ok"}
