"""FastAPI and one query, nothing else: no session, no limits, no middleware of ours. Served as the gateway is."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import select

from gateway.sessions.repository import Filter
from gateway.sessions.schemas import SessionList
from gateway.sessions.service import list_sessions
from polaris_common.db import Database
from polaris_common.db.pages import Paging
from polaris_common.identity.principals import Driver
from polaris_common.models import User
from polaris_common.settings import DatabaseSettings


def bare_app(database: Database) -> FastAPI:
    """The list of the only driver's sessions."""
    driver: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database.unit_of_work() as uow:
            driver["id"] = await uow.session.scalar(select(User.id))
        yield
        await database.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {}

    @app.get("/api/customer/sessions")
    async def sessions(limit: int) -> SessionList:
        async with database.unit_of_work() as uow:
            return await list_sessions(uow, Driver(driver["id"]), Filter(), Paging(0, limit))

    return app


if __name__ == "__main__":
    app = bare_app(Database(DatabaseSettings(), application_name="bare"))
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", log_config=None,
        access_log=False,
    )  # fmt: skip
