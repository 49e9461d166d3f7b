"""GET /api/admin/health: which subsystems found their configuration, their last errors, what waits."""

import os

from fastapi import APIRouter, Response

from gateway.dependencies import CurrentOperator, Process, UnitOfWork
from gateway.health.repository import queues
from gateway.health.schemas import AdminHealthRead, ComponentRead, QueueRead, SettingRead, Status
from gateway.health.service import as_code
from gateway.settings import GatewaySettings
from polaris_common.config_report import report
from polaris_common.observability.health import read

router = APIRouter(prefix="/api/admin/health", tags=["health"])


@router.get("")
async def admin_health(
    response: Response, operator: CurrentOperator, process: Process, uow: UnitOfWork
) -> AdminHealthRead:
    """How the platform is doing, for whoever has to mend it."""
    response.headers["cache-control"] = "no-store"
    found = await process.health.health()
    components = [
        ComponentRead(
            name=name,
            status=Status(row.status),
            error=None if row.status == Status.OK else as_code(row.error),
            checked_at=row.checked_at,
            last_success_at=row.last_success_at,
        )
        for name, (row, _) in sorted((await read(uow)).items())
    ]
    return AdminHealthRead(
        status=found.status,
        timestamp=found.timestamp,
        checks=found.checks,
        subsystems=_subsystems(process.settings),
        settings=[SettingRead(name=each.name, state=each.state) for each in report(GatewaySettings, os.environ)],
        components=components,
        queues=[
            QueueRead(name=each.name, waiting=each.waiting, oldest_seconds=each.oldest_seconds, failed=each.failed)
            for each in await queues(uow)
        ],
    )


def _subsystems(settings: GatewaySettings) -> dict[str, bool]:
    return {
        "preAuthorizeHook": settings.pre_authorize_on,
        "meterValuesHook": bool(settings.meter_values_keys),
        "lago": settings.lago_api_url is not None and settings.lago_api_key is not None,
        "lagoWebhookHmac": settings.lago_webhook_hmac_key is not None,
        "mail": settings.mail_enabled,
        "adminOidc": settings.oidc_enabled,
    }
