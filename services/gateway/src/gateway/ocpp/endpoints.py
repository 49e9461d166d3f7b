"""The two hooks of SteVe's fork (contract §8): plain handlers, no validation framework, because they are hot.

Both are called on any host, without a session; the signature over the exact body is the caller's proof. They are not in
the OpenAPI document: SteVe is their only client.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.dependencies import resources
from gateway.ocpp.metrics import TAPS, measured
from gateway.ocpp.schemas import parse_meter_values, parse_tap
from gateway.ocpp.signatures import signed_body
from polaris_common.http.callers import Caller, admits

_STORED = b'{"ok":true}'


@admits(Caller.STEVE_HOOK)
async def pre_authorize(request: Request) -> Response:
    """POST /api/ocpp/pre-authorize: may this tag charge?

    Body ``{idTag, chargeBoxId, connectorId?, isStartTx?, ts?}``; 200 ``{"override": "BLOCKED" | null}``;
    400 ``invalid_json`` or ``invalid_body``; 401 ``unauthorized``; 413 ``body_too_large``.
    """
    process = resources(request)
    with measured("pre_authorize"):
        tap = parse_tap(await signed_body(request, process.hook_keys.pre_authorize))
        override = await process.taps.decide(tap)
    TAPS.labels("blocked" if override is not None else "left_to_steve").inc()
    process.announcer.heard_from(tap.charge_box_id)
    if tap.is_start:
        process.announcer.transactions_changed()
    return JSONResponse({"override": override})


@admits(Caller.STEVE_HOOK)
async def meter_values(request: Request) -> Response:
    """POST /api/ocpp/meter-values: one MeterValue element of one transaction.

    Body ``{chargeBoxId, transactionPk, connectorId?, timestamp, samples: [{value, measurand?, unit?, context?, phase?,
    location?}]}``; 200 ``{"ok": true}`` once the samples are durable; 400 ``invalid_json`` or ``invalid_body``; 401
    ``unauthorized``; 413 ``body_too_large``; 503 ``unavailable`` when they are not stored.
    """
    process = resources(request)
    with measured("meter_values"):
        values = parse_meter_values(await signed_body(request, process.hook_keys.meter_values))
        await process.intake.add(values)
    return Response(_STORED, media_type="application/json")


router = APIRouter(
    routes=[
        Route("/api/ocpp/pre-authorize", pre_authorize, methods=["POST"]),
        Route("/api/ocpp/meter-values", meter_values, methods=["POST"]),
    ]
)
