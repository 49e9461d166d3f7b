"""The two hooks of SteVe's fork (contract §8): plain ASGI, no framework around them, because they are hot.

Both are called on any host, without a session; the signature over the exact body is the caller's proof. They are not in
the OpenAPI document: SteVe is their only client.

Checks, in this order: the body can be read (413 ``body_too_large``, 400 ``invalid_body``); there are a key and a
signature, the signature is hexadecimal, and it fits (401 ``unauthorized``); the body is JSON (400 ``invalid_json``) and
has the form (400 ``invalid_body``). Nothing happens before all of them have passed.
"""

import time
from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dependencies import Resources
from gateway.ocpp.metrics import HookFigures, count_tap
from gateway.ocpp.recorder import Decided
from gateway.ocpp.schemas import Tap, parse_meter_values, parse_tap
from gateway.ocpp.service import Decision
from gateway.ocpp.signatures import signed_body
from polaris_common.http.callers import Caller, admits
from polaris_common.http.errors import ApiError, ServiceUnavailable, error_response

_STORED = b'{"ok":true}'
_ANSWERS = {None: b'{"override":null}', "BLOCKED": b'{"override":"BLOCKED"}'}

Answer = Callable[[Resources, Scope, Receive], Awaitable[bytes]]


class Hook:
    """One hook as an ASGI application: JSON from ``answer``, or the error that it raises."""

    def __init__(self, name: str, answer: Answer) -> None:
        self._answer = answer
        self._figures = HookFigures(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        try:
            body = await self._answer(scope["app"].state.resources, scope, receive)
        except ApiError as error:
            self._figures.count(began, error)
            refusal = error_response(error.status, error.code, str(error), headers=error.headers)
            await refusal(scope, receive, send)
            return
        except Exception as error:
            self._figures.count(began, error)
            raise
        self._figures.count(began)
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class HookShortcut:
    """Takes requests to hooks past everything that is there for people: cookies, surfaces, compression, limits."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._hooks = {route.path: route.endpoint for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        hook = self._hooks.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (hook or self._app)(scope, receive, send)


async def pre_authorize(process: Resources, scope: Scope, receive: Receive) -> bytes:
    """POST /api/ocpp/pre-authorize: may this tag charge?

    Body ``{idTag, chargeBoxId, connectorId?, isStartTx?, ts?}``; 200 ``{"override": "BLOCKED" | null}``;
    503 ``unavailable`` while the hook is switched off.
    """
    began, at = time.perf_counter(), time.time()
    if not process.settings.steve_preauth_enabled:
        raise ServiceUnavailable("The pre-authorize hook is switched off.")
    body = await signed_body(scope, receive, process.hook_keys.pre_authorize)
    tap = parse_tap(body)
    decision = await process.replays.once(body, tap, process.taps.decide)
    count_tap(decision.reason)
    process.announcer.heard_from(tap.charge_box_id)
    if tap.is_start:
        process.announcer.transactions_changed()
    process.tap_recorder.note(_decided(tap, decision, at, time.perf_counter() - began))
    return _ANSWERS[decision.override]


async def meter_values(process: Resources, scope: Scope, receive: Receive) -> bytes:
    """POST /api/ocpp/meter-values: one MeterValue element of one transaction.

    Body ``{chargeBoxId, transactionPk, connectorId?, timestamp, samples: [{value, measurand?, unit?, context?, phase?,
    location?}]}``; 200 ``{"ok": true}`` once the samples are durable; 503 ``unavailable`` when they are not stored.
    """
    await process.intake.add(parse_meter_values(await signed_body(scope, receive, process.hook_keys.meter_values)))
    return _STORED


def _decided(tap: Tap, decision: Decision, at: float, seconds: float) -> Decided:
    return Decided(
        at=at,
        id_tag=tap.id_tag,
        charge_box_id=tap.charge_box_id,
        connector_id=tap.connector_id,
        is_start=tap.is_start,
        reason=decision.reason,
        blocked=decision.override is not None,
        mapping_id=decision.mapping_id,
        latency_us=round(seconds * 1_000_000),
    )


def _route(answer: Answer) -> Route:
    name = answer.__name__
    hook = Hook(name, answer)
    admits(Caller.STEVE_HOOK)(hook)
    return Route(f"/api/ocpp/{name.replace('_', '-')}", hook, methods=["POST"])


router = APIRouter(routes=[_route(pre_authorize), _route(meter_values)])
