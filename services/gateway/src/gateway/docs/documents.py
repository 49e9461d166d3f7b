"""The OpenAPI documents, made from the routes: one for each kind of client."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from gateway.dependencies import once
from gateway.docs.examples import example_of
from polaris_common.http.callers import READING, Caller, callers_of
from polaris_common.http.errors import ApiError, BodyTooLarge, ErrorBody, NotFound, ServiceUnavailable, Unauthorized
from polaris_common.http.idempotency import AnswerNotKept, KeyReused, KeyTooLong, StillRunning

API_VERSION = "1"
_ERROR = {"$ref": "#/components/schemas/ErrorBody"}
_SESSION, _DEVICE = "session", "device"
_SCHEMES = {
    _SESSION: {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Secure-polaris.session",
        "description": "Set by signing in. Requests that change something must also carry an `Origin` of ours.",
    },
    _DEVICE: {"type": "http", "scheme": "bearer", "description": "The token that a device got at registration."},
}
_SCHEME_OF = {
    Caller.DRIVER: _SESSION,
    Caller.OPERATOR: _SESSION,
    Caller.SUPERADMIN: _SESSION,
    Caller.SIGNED_IN: _SESSION,
    Caller.DEVICE: _DEVICE,
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 200},
    "description": "Makes it safe to send the request again: it is done once, and repeats get the first answer.",
}


@dataclass(frozen=True)
class Document:
    """Which part of the API one kind of client uses."""

    title: str
    prefixes: tuple[str, ...]

    def has(self, path: str) -> bool:
        """Whether ``path`` belongs to it."""
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self.prefixes)


DOCUMENTS: Mapping[str, Document] = {
    "customer": Document("Polaris Express for drivers", ("/api/customer", "/api/auth", "/api/health")),
    "admin": Document("Polaris Express for operators", ("/api/admin", "/api/events", "/api/auth", "/api/health")),
    "device": Document(
        "Polaris Express for devices",
        ("/api/devices", "/api/auth/qr-sign-in", "/api/auth/magic-link", "/api/health"),
    ),
}


def document(name: str, routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI 3.1 document ``name``, the same for the same routes."""
    about = DOCUMENTS[name]
    shown = [r for r in routes if isinstance(r, APIRoute) and r.include_in_schema and about.has(r.path)]
    made = get_openapi(title=about.title, version=API_VERSION, routes=shown)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for model in ("HTTPValidationError", "ValidationError"):
        schemas.pop(model, None)
    schemas.update(_error_schemas())
    made["components"]["securitySchemes"] = _SCHEMES
    names = _operation_ids(shown)
    for route in shown:
        for method in sorted(route.methods or ()):
            operation = made["paths"][route.path_format][method.lower()]
            operation["operationId"] = names[route.path, method]
            _complete(operation, route, method, schemas)
    return made


def _operation_ids(routes: Sequence[APIRoute]) -> dict[tuple[str, str], str]:
    """The handler's name; where two share it, with the path before it."""
    pairs = [(route, method) for route in routes for method in route.methods or ()]
    times = Counter(route.name for route, _ in pairs)
    return {
        (route.path, method): route.name if times[route.name] == 1 else _by_path(route, method)
        for route, method in pairs
    }


def _by_path(route: APIRoute, method: str) -> str:
    parts = [part.strip("{}").replace("-", "_") for part in route.path.split("/") if part]
    return "_".join([method.lower(), *parts])


def _complete(operation: dict[str, Any], route: APIRoute, method: str, schemas: Mapping[str, Any]) -> None:
    (caller,) = callers_of(route)
    scheme = _SCHEME_OF.get(caller)
    operation["security"] = [{scheme: []}] if scheme else []
    if method not in READING and (scheme or _heeds_keys(route)):
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    responses = operation["responses"]
    for error_status, codes in _usual_errors(route, method, known=scheme is not None).items():
        described = responses.setdefault(str(error_status), {"description": ""})
        new = [code for code in codes if code not in described["description"]]
        described["description"] = ", ".join(filter(None, [_plain(described["description"]), *new]))
    for status, response in responses.items():
        _describe(int(status), response, schemas)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" not in content and "examples" not in content:
            content["example"] = example_of(content["schema"], schemas)
    operation["responses"] = dict(sorted(responses.items()))


def _heeds_keys(route: APIRoute) -> bool:
    """Whether a public route takes an ``Idempotency-Key``."""
    return any(each.call is once for each in route.dependant.dependencies)


def _plain(description: str) -> str:
    return "" if description == "Validation Error" else description


def _usual_errors(route: APIRoute, method: str, *, known: bool) -> dict[int, list[str]]:
    """What every route of its kind may answer, by status."""
    changing = method not in READING
    kinds: list[type[ApiError]] = [NotFound, ServiceUnavailable]
    if changing:
        kinds.append(BodyTooLarge)
    if known:
        kinds.append(Unauthorized)
    if changing and (known or _heeds_keys(route)):
        kinds += [KeyTooLong, StillRunning, AnswerNotKept, KeyReused]
    found: dict[int, list[str]] = {429: ["`rate_limited`"], 500: ["`internal`"]}
    for kind in kinds:
        found.setdefault(kind.status, []).append(f"`{kind.code}`")
    found.setdefault(400, []).append("`unusable_text`")
    if changing or known:
        found.setdefault(403, []).append("`forbidden`")
    if changing:
        found[403].append("`origin_mismatch`")
    if changing or route.dependant.query_params or route.dependant.path_params:
        found.setdefault(422, []).append("`invalid_request`")
    return dict(sorted(found.items()))


def _describe(status: int, response: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    response["description"] = response["description"] or "See the status."
    if status >= 400 and "HTTPValidationError" in str(response.get("content", "")):
        response.pop("content")
    if status >= 400:
        json = response.setdefault("content", {}).setdefault("application/json", {"schema": _ERROR})
        json.setdefault("schema", _ERROR)
        if json["schema"] == _ERROR:
            code = response["description"].split("`")[1] if "`" in response["description"] else "error"
            json["example"] = {"error": code, "message": "A sentence for people.", "requestId": "0198f6a2c7d1"}
            return
    for content in response.get("content", {}).values():
        if content.get("schema") and "example" not in content:
            content["example"] = example_of(content["schema"], schemas)


def _error_schemas() -> dict[str, Any]:
    schema = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {**parts, "ErrorBody": schema}
