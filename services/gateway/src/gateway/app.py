"""The gateway as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from gateway import legal
from gateway.app_sign_in import endpoints as app_sign_in
from gateway.audit_log import endpoints as audit_log
from gateway.auth import endpoints as auth
from gateway.auth import magic_link_endpoints as magic_link
from gateway.auth import password_reset_endpoints as password_reset
from gateway.auth import session_endpoints as sign_ins
from gateway.auth.cookies import RenewedCookiesMiddleware
from gateway.dependencies import HookKeys, Resources
from gateway.devices import endpoints as devices
from gateway.docs.endpoints import documentation
from gateway.event_log import endpoints as event_log
from gateway.flags import endpoints as flags
from gateway.health import admin as admin_health
from gateway.health import endpoints as health
from gateway.health.service import HealthService
from gateway.housekeeping.service import EVERY_SECONDS, clean_up
from gateway.impersonation import endpoints as impersonation
from gateway.lago_webhook import endpoints as lago_webhook
from gateway.landing import endpoints as landing
from gateway.notifications import admin_endpoints as operator_notifications
from gateway.notifications import customer_endpoints as notifications
from gateway.ocpp import endpoints as ocpp
from gateway.ocpp.announcer import Announcer
from gateway.ocpp.intake import MeterIntake
from gateway.ocpp.recorder import TagHashes, TapRecorder
from gateway.ocpp.replays import Replays
from gateway.ocpp.service import BUDGET_SECONDS, TapDecisions
from gateway.ocpp.tap_facts import TapFactsQuery
from gateway.oidc import endpoints as oidc
from gateway.scan_login import endpoints as scan_login
from gateway.sessions import endpoints as sessions
from gateway.settings import GatewaySettings
from gateway.surfaces import SurfaceMiddleware, is_hook
from gateway.sync_runs import endpoints as sync_runs
from gateway.tap_decisions import endpoints as tap_decisions
from gateway.users import endpoints as users
from polaris_common.clock import Clock, SystemClock
from polaris_common.db import Database
from polaris_common.http.application import create_application
from polaris_common.http.bodies import BodyMiddleware
from polaris_common.http.callers import require_callers
from polaris_common.http.cors import CorsMiddleware
from polaris_common.http.idempotency import IdempotencyMiddleware, install_replay
from polaris_common.http.limits import RateLimits
from polaris_common.identity.audit import Audit
from polaris_common.identity.devices import SecretVault
from polaris_common.identity.oidc import OidcProvider
from polaris_common.identity.pairings import ScanTickets
from polaris_common.jobs import Jobs
from polaris_common.lago import LagoClient
from polaris_common.lago.signatures import WebhookVerifier
from polaris_common.observability.metrics import metrics_server
from polaris_common.process import every

ROUTERS = [
    ocpp.router,
    lago_webhook.router,
    health.router,
    auth.router,
    sign_ins.router,
    sign_ins.browser_router,
    magic_link.requests,
    magic_link.router,
    password_reset.asking,
    password_reset.setting,
    oidc.router,
    impersonation.router,
    users.router,
    app_sign_in.router,
    app_sign_in.cards,
    scan_login.router,
    scan_login.arming,
    scan_login.devices,
    devices.pages,
    devices.registering,
    devices.router,
    devices.of_operators,
    landing.router,
    sessions.router,
    notifications.router,
    operator_notifications.router,
    flags.router,
    audit_log.router,
    event_log.router,
    tap_decisions.router,
    sync_runs.router,
    admin_health.router,
    legal.router,
]

MAX_BODY_BYTES = 1024 * 1024
GZIP_FROM_BYTES = 2048


def create_app(settings: GatewaySettings, *, clock: Clock | None = None) -> FastAPI:
    """The gateway; while its lifespan runs it owns a database pool, the job queues and the meter intake."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings, clock or SystemClock()) as resources:
            app.state.resources = resources
            yield

    routers = [*ROUTERS, documentation(ROUTERS)]
    for router in routers:
        require_callers(router.routes)
    app = create_application(
        "Polaris Express gateway",
        lifespan=lifespan,
        routers=routers,
        version=settings.app_version,
        trusted_proxies=settings.trusted_proxies,
        middleware=[
            Middleware(ocpp.HookShortcut, routes=ocpp.router.routes),
            Middleware(CorsMiddleware, origins=settings.cors_origins),
            Middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES, compresslevel=4),
            Middleware(SurfaceMiddleware, settings=settings),
            # The hooks check a signature over the bytes as they come, within limits of their own.
            Middleware(BodyMiddleware, limit=MAX_BODY_BYTES, but_not=is_hook),
            Middleware(IdempotencyMiddleware),
            Middleware(RenewedCookiesMiddleware),
        ],
    )
    install_replay(app)
    return app


@asynccontextmanager
async def _running(settings: GatewaySettings, clock: Clock) -> AsyncIterator[Resources]:
    database = Database(settings, application_name="gateway")
    jobs = Jobs(settings)
    lago = LagoClient(settings) if settings.lago_api_url and settings.lago_api_key else None
    provider = _oidc_provider(settings)
    limits = RateLimits(settings.redis_url, scale=settings.rate_limit_scale)
    audit = Audit(settings.auth_secret.get_secret_value())
    hashes = TagHashes(settings.auth_secret.get_secret_value())
    recorder = TapRecorder(database, hashes)
    facts = TapFactsQuery(database, protected=settings.tag_sync_protected_tags, timeout_seconds=BUDGET_SECONDS)
    announcer = Announcer(jobs, database)
    intake = MeterIntake(database, announcer)
    figures_shown = metrics_server(settings)
    facts.start()
    recorder.start()
    announcer.start()
    intake.start()
    housekeeping = asyncio.create_task(every(EVERY_SECONDS, lambda: clean_up(database), name="housekeeping"))
    figures = asyncio.create_task(figures_shown)
    try:
        yield Resources(
            settings=settings,
            database=database,
            jobs=jobs,
            announcer=announcer,
            intake=intake,
            health=HealthService(database, clock, ping_redis=jobs.redis.ping),
            hook_keys=HookKeys(settings.pre_authorize_keys, settings.meter_values_keys),
            lago_verifier=_lago_verifier(settings, lago),
            audit=audit,
            vault=SecretVault(settings.auth_secret.get_secret_value()),
            tickets=ScanTickets(settings.auth_secret.get_secret_value()),
            taps=TapDecisions(database, audit, facts, budget_seconds=BUDGET_SECONDS),
            tag_hashes=hashes,
            tap_recorder=recorder,
            replays=Replays(jobs.redis, max_age_seconds=settings.steve_preauth_max_age_seconds),
            limits=limits,
            oidc=provider,
        )
    finally:
        housekeeping.cancel()
        figures.cancel()
        await asyncio.gather(housekeeping, figures, return_exceptions=True)
        await intake.stop()
        await announcer.stop()
        await facts.close()
        await recorder.stop()
        if lago is not None:
            await lago.close()
        await jobs.close()
        await limits.close()
        if provider is not None:
            await provider.close()
        await database.close()


def _oidc_provider(settings: GatewaySettings) -> OidcProvider | None:
    if settings.admin_oidc_issuer is None or settings.admin_oidc_client_id is None:
        return None
    secret = settings.admin_oidc_client_secret
    return OidcProvider(
        settings.admin_oidc_issuer, settings.admin_oidc_client_id, secret.get_secret_value() if secret else None
    )


def _lago_verifier(settings: GatewaySettings, lago: LagoClient | None) -> WebhookVerifier:
    secret = settings.lago_webhook_hmac_key
    return WebhookVerifier(
        hmac_secret=secret.get_secret_value() if secret else None,
        public_key=lago.webhook_public_key if lago else None,
    )
