"""The raw floors: the least that the same rows and the same bodies cost on this machine, in this run."""

import io
import time
from collections.abc import Mapping, Sequence

import asyncpg
import httpx


async def read_tables(url: str, tables: Sequence[str]) -> dict[str, bytes]:
    """All rows of each table in PostgreSQL's binary form, for ``copy_tables``."""
    connection = await asyncpg.connect(url)
    try:
        read = {}
        for table in tables:
            buffer = io.BytesIO()
            await connection.copy_from_query(f"SELECT * FROM {table}", output=buffer, format="binary")  # noqa: S608
            read[table] = buffer.getvalue()
        return read
    finally:
        await connection.close()


async def copy_tables(url: str, tables: Mapping[str, bytes]) -> float:
    """COPY rows into the same tables of another database, constraints, triggers and all; the seconds to the commit."""
    connection = await asyncpg.connect(url)
    try:
        began = time.perf_counter()
        async with connection.transaction():
            for table, rows in tables.items():
                await connection.copy_to_table(table, source=io.BytesIO(rows), format="binary")
        return time.perf_counter() - began
    finally:
        await connection.close()


async def post_batches(url: str, key: str, batches: Sequence[Sequence[str]]) -> float:
    """POST Lago's batches one after the other with a plain client; the seconds it took."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
        began = time.perf_counter()
        for bodies in batches:
            content = '{"events":[' + ",".join(bodies) + "]}"
            response = await http.post(f"{url}/api/v1/events/batch", content=content.encode())
            response.raise_for_status()
        return time.perf_counter() - began


async def get_all(urls: Sequence[str], *, auth: httpx.BasicAuth | None = None, key: str = "") -> float:
    """GET these addresses one after the other and read the answers as JSON; the seconds it took."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(headers=headers, auth=auth, timeout=120, trust_env=False) as http:
        began = time.perf_counter()
        for url in urls:
            response = await http.get(url)
            response.raise_for_status()
            response.json()
        return time.perf_counter() - began
