"""The notifier's HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from notifier.health import endpoints as health
from notifier.process import Notifier
from notifier.scan_detect import endpoints as scan_detect
from notifier.scan_stream import endpoints as scan_stream
from notifier.stream import endpoints as stream
from polaris_common.http.application import create_application
from polaris_common.http.callers import require_callers


def create_app(notifier: Notifier) -> FastAPI:
    """The application that serves ``notifier``'s streams; it runs while the application does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with notifier.running():
            yield

    routers = [stream.customers, stream.operators, scan_stream.router, scan_detect.router, health.router]
    for router in routers:
        require_callers(router.routes)
    app = create_application(
        "Polaris Express notifier",
        lifespan=lifespan,
        routers=routers,
        version=notifier.settings.app_version,
        trusted_proxies=notifier.settings.trusted_proxies,
    )
    app.state.notifier = notifier
    return app
