"""The least that a hook can be: a FastAPI route that reads the body and computes its signature."""

import hashlib
import hmac
import sys

import uvicorn
from fastapi import FastAPI, Request

from tests.bench.hooks import KEY

app = FastAPI()


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """It serves."""
    return {}


@app.post("/api/ocpp/{hook}")
async def hook(request: Request) -> dict[str, bool]:
    """Read and compute."""
    return {"ok": bool(hmac.digest(KEY.encode(), await request.body(), hashlib.sha256))}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", access_log=False,
        log_level="error",
    )  # fmt: skip
