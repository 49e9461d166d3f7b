"""The gateway as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from gateway.auth import endpoints as auth
from gateway.dependencies import HookKeys, Resources
from gateway.health import endpoints as health
from gateway.health.service import HealthService
from gateway.lago_webhook import endpoints as lago_webhook
from gateway.ocpp import endpoints as ocpp
from gateway.ocpp.announcer import Announcer
from gateway.ocpp.intake import MeterIntake
from gateway.sessions import endpoints as sessions
from gateway.settings import GatewaySettings
from gateway.surfaces import SurfaceMiddleware
from polaris_common.clock import Clock, SystemClock
from polaris_common.db import Database
from polaris_common.http.application import create_application
from polaris_common.jobs import Jobs
from polaris_common.lago import LagoClient
from polaris_common.lago.signatures import WebhookVerifier


def create_app(settings: GatewaySettings, *, clock: Clock | None = None) -> FastAPI:
    """The gateway; while its lifespan runs it owns a database pool, the job queues and the meter intake."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings, clock or SystemClock()) as resources:
            app.state.resources = resources
            yield

    return create_application(
        "Polaris Express gateway",
        lifespan=lifespan,
        routers=[ocpp.router, lago_webhook.router, health.router, auth.router, sessions.router],
        version=settings.app_version,
        middleware=[Middleware(SurfaceMiddleware, settings=settings)],
    )


@asynccontextmanager
async def _running(settings: GatewaySettings, clock: Clock) -> AsyncIterator[Resources]:
    database = Database(settings, application_name="gateway")
    jobs = Jobs(settings)
    lago = LagoClient(settings) if settings.lago_api_url and settings.lago_api_key else None
    announcer = Announcer(jobs, database)
    intake = MeterIntake(database, announcer)
    announcer.start()
    intake.start()
    try:
        yield Resources(
            settings=settings,
            database=database,
            jobs=jobs,
            announcer=announcer,
            intake=intake,
            health=HealthService(database, clock),
            hook_keys=HookKeys(settings.pre_authorize_key, settings.meter_values_key),
            lago_verifier=_lago_verifier(settings, lago),
        )
    finally:
        await intake.stop()
        await announcer.stop()
        if lago is not None:
            await lago.close()
        await jobs.close()
        await database.close()


def _lago_verifier(settings: GatewaySettings, lago: LagoClient | None) -> WebhookVerifier:
    secret = settings.lago_webhook_hmac_key
    return WebhookVerifier(
        hmac_secret=secret.get_secret_value() if secret else None,
        public_key=lago.webhook_public_key if lago else None,
    )
