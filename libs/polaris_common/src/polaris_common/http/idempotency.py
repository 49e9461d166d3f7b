"""``Idempotency-Key``: a mutation that is sent again is not done again.

The caller's first request leaves a row, committed before the handler runs; a repeat while it is at work gets 409, a
repeat after it gets its answer. The handler's own transaction marks the row as carried out and loses its commit when
somebody else has taken the row over, so the mutation happens at most once even when a process dies in the middle: a
row that is carried out but has no answer is never run again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ApiError

HEADER = "idempotency-key"
MAX_KEY_LENGTH = 200
MAX_ANSWER_BYTES = 256 * 1024
LEASE_SECONDS = 60
RETENTION_HOURS = 24
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DETERMINISTIC = frozenset({400, 404, 410, 413, 415, 422})
"""Refusals that the same request gets again. Others (401, 409, 429, 5xx ...) are forgotten: the next try runs."""

_CLAIM = text("""
INSERT INTO idempotency_keys AS kept (principal, route, key_hash, body_hash, lease_until)
VALUES (:principal, :route, :key_hash, :body_hash, now() + make_interval(secs => :lease))
ON CONFLICT (principal, route, key_hash) DO UPDATE
SET body_hash = excluded.body_hash, lease_until = excluded.lease_until, attempt = kept.attempt + 1,
    carried_out = false, status = NULL, answer = NULL, media_type = NULL, created_at = now()
WHERE kept.created_at < now() - make_interval(hours => :hours)
   OR (kept.body_hash = excluded.body_hash AND kept.status IS NULL AND NOT kept.carried_out
       AND kept.lease_until < now())
RETURNING attempt
""")
_READ = text("""
SELECT body_hash, status, answer, media_type, carried_out AND lease_until <= now() AS over FROM idempotency_keys
WHERE principal = :principal AND route = :route AND key_hash = :key_hash
""")
_OWN = "principal = :principal AND route = :route AND key_hash = :key_hash AND attempt = :attempt"
_CARRY_OUT = text(f"UPDATE idempotency_keys SET carried_out = true WHERE {_OWN}")  # noqa: S608 - our own text
_KEEP = text(
    "UPDATE idempotency_keys SET carried_out = true, lease_until = now(), status = :status, answer = :answer,"  # noqa: S608
    f" media_type = :media_type WHERE {_OWN}"
)
_FORGET = text(f"DELETE FROM idempotency_keys WHERE {_OWN} AND NOT carried_out")  # noqa: S608
_DELETE_OLD = text("DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => :hours)")

log = structlog.get_logger(__name__)


class KeyTooLong(ApiError):
    """The header has more than 200 characters."""

    status, code, message = 400, "idempotency_key_too_long", "An Idempotency-Key has at most 200 characters."


class KeyReused(ApiError):
    """The key belongs to another request."""

    status, code, message = 422, "idempotency_key_reused", "This Idempotency-Key was used for another request."


class StillRunning(ApiError):
    """The first request with the key is at work."""

    status, code, message = 409, "idempotency_in_progress", "The first request with this Idempotency-Key still runs."


class AnswerNotKept(ApiError):
    """The request was carried out; its answer holds secrets or was lost."""

    status, code, message = 409, "idempotency_answer_not_kept", "This was done before; its answer cannot be repeated."


class Replay(Exception):
    """The request was answered before; this is the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


@dataclass(frozen=True)
class Attempt:
    """The right to carry a request out."""

    database: Database
    row: Mapping[str, object]

    async def carry_out(self, uow: UnitOfWork) -> None:
        """Mark the request as done, in the transaction that does it.

        Raises:
            StillRunning: another attempt has taken over; the transaction must not commit.
        """
        if await uow.write(_CARRY_OUT, self.row) == 0:
            raise StillRunning

    async def answered(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """Keep the answer for repeats, or forget the request when the next try may fare better."""
        async with self.database.unit_of_work() as uow:
            if not (status < 300 or status in _DETERMINISTIC):
                await uow.execute(_FORGET, self.row)
                return
            keep = not _holds_secrets(headers) and len(body) <= MAX_ANSWER_BYTES
            answer = {"status": status if keep else None, "answer": body if keep else None}
            media_type = headers.get(b"content-type", b"").decode("latin-1") or None
            await uow.execute(_KEEP, {**self.row, **answer, "media_type": media_type})

    async def failed(self) -> None:
        """Forget the request: it ended in an error of ours."""
        async with self.database.unit_of_work() as uow:
            await uow.execute(_FORGET, self.row)


async def begin(request: Request, database: Database, principal: str) -> None:
    """Start the mutation that ``request`` asks for; does nothing for others and without the header.

    ``principal``: whose keys they are. No database connection may be held by the caller.

    Raises:
        KeyTooLong, KeyReused, StillRunning, AnswerNotKept: as their texts say.
        Replay: it was answered before.
    """
    key = request.headers.get(HEADER, "").strip()
    if not key or request.method not in _CHANGING or attempt_of(request) is not None:
        return
    if len(key) > MAX_KEY_LENGTH:
        raise KeyTooLong
    route = f"{request.method} {getattr(request.scope.get('route'), 'path', request.url.path)}"
    identity = {"principal": principal, "route": route, "key_hash": hashlib.sha256(key.encode("latin-1")).digest()}
    body_hash = await _fingerprint(request)
    async with database.unit_of_work() as uow:
        claim = {**identity, "body_hash": body_hash, "lease": LEASE_SECONDS, "hours": RETENTION_HOURS}
        attempt = (await uow.execute(_CLAIM, claim)).scalar_one_or_none()
        found = None if attempt is not None else (await uow.execute(_READ, identity)).one_or_none()
    if attempt is not None:
        request.scope["state"]["idempotency"] = Attempt(database, {**identity, "attempt": attempt})
    elif found is None:
        raise StillRunning(headers={"retry-after": "1"})
    elif found.body_hash != body_hash:
        raise KeyReused
    elif found.status is not None:
        headers = {"idempotency-replayed": "true"}
        raise Replay(Response(found.answer, found.status, headers, media_type=found.media_type))
    elif found.over:
        raise AnswerNotKept
    else:
        raise StillRunning(headers={"retry-after": "1"})


def attempt_of(request: Request) -> Attempt | None:
    """The attempt that ``request`` is, if it carries a key."""
    attempt = request.scope.setdefault("state", {}).get("idempotency")
    return attempt if isinstance(attempt, Attempt) else None


def install_replay(app: FastAPI) -> None:
    """Answer repeats with the first answer."""

    @app.exception_handler(Replay)
    async def _replay(_: Request, replay: Replay) -> Response:
        return replay.response


class IdempotencyMiddleware:
    """Keeps the answer of a request that carries a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not any(name == HEADER.encode() for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []

        async def gather(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(scope, receive, gather)
        except Exception:
            if (attempt := scope.get("state", {}).get("idempotency")) is not None:
                await attempt.failed()
            raise
        if (attempt := scope.get("state", {}).get("idempotency")) is not None:
            await _keep(attempt, messages)
        for message in messages:
            await send(message)


async def delete_old(uow: UnitOfWork) -> int:
    """Forget keys older than a day; how many."""
    return await uow.write(_DELETE_OLD, {"hours": RETENTION_HOURS})


async def _keep(attempt: Attempt, messages: list[Message]) -> None:
    status = messages[0]["status"]
    body = b"".join(message.get("body", b"") for message in messages[1:])
    try:
        await attempt.answered(status, dict(messages[0]["headers"]), body)
    except (OSError, SQLAlchemyError) as error:
        # What was done is marked as done; only its answer is lost.
        log.warning("idempotency_answer_lost", error=type(error).__name__)


async def _fingerprint(request: Request) -> bytes:
    digest = hashlib.sha256()
    for part in (request.scope["path"].encode(), request.scope["query_string"], await request.body()):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _holds_secrets(headers: Mapping[bytes, bytes]) -> bool:
    """What no cache may keep, we do not keep either."""
    return b"set-cookie" in headers or b"no-store" in headers.get(b"cache-control", b"")
