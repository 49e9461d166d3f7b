"""Lago's webhooks: verified, stored, answered. The billing-bridge processes them from the inbox."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.dependencies import resources
from polaris_common.http.bodies import read_body
from polaris_common.http.callers import Caller, admits
from polaris_common.http.errors import ApiError, ServiceUnavailable, Unauthorized
from polaris_common.lago.inbox import WebhookMalformed, WebhookNotStored, receive
from polaris_common.lago.signatures import SignatureInvalid, SignatureMissing, SignatureUncheckable

MAX_BODY_BYTES = 5 * 1024 * 1024
"""An invoice with many fees is large (lago.md §2.2)."""


class MissingSignature(Unauthorized):
    """The request carries no signature."""

    code, message = "missing_signature", "The signature is missing."


class InvalidSignature(Unauthorized):
    """The signature does not belong to the body."""

    code, message = "invalid_signature", "The signature does not belong to this body."


class MalformedWebhook(ApiError):
    """Signed, but no JSON object."""

    status, code, message = 400, "invalid_json", "The body is not a JSON object."


@admits(Caller.LAGO)
async def lago_webhook(request: Request) -> Response:
    """POST /api/webhook/lago: one webhook, signed with HMAC or JWT over the exact body.

    200 ``{"ok": true, "duplicate": bool}`` once it is durable; 400 ``invalid_json``; 401 ``missing_signature`` or
    ``invalid_signature``; 413 ``body_too_large``; 503 ``unavailable`` when it is not stored: Lago sends it again.
    """
    process = resources(request)
    body = await read_body(request, limit=MAX_BODY_BYTES)
    try:
        stored = await receive(process.database, process.lago_verifier, body, request.headers)
    except SignatureMissing:
        raise MissingSignature from None
    except SignatureInvalid:
        raise InvalidSignature from None
    except WebhookMalformed:
        raise MalformedWebhook from None
    except (SignatureUncheckable, WebhookNotStored):
        raise ServiceUnavailable from None
    return JSONResponse({"ok": True, "duplicate": stored.duplicate})


router = APIRouter(routes=[Route("/api/webhook/lago", lago_webhook, methods=["POST"])])
