"""The refusals of Lago's API, each with the body that Lago sends."""

from polaris_sim.lago.wire import JsonObject

ErrorDetails = dict[str, list[str]]

MANDATORY = "value_is_mandatory"
ALREADY_EXISTS = "value_already_exist"
INVALID_VALUE = "value_is_invalid"


class LagoError(Exception):
    """A refused request: ``status`` and the JSON ``body`` of the answer."""

    def __init__(self, status: int, body: JsonObject) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class BadRequest(LagoError):
    """The root key is missing or the body is not JSON; there is no ``code``."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, {"status": 400, "error": f"BadRequest: {reason}"})


class Unauthorized(LagoError):
    """The API key is missing or wrong."""

    def __init__(self) -> None:
        super().__init__(401, {"status": 401, "error": "Unauthorized"})


class Forbidden(LagoError):
    """The organization has no licence for the feature."""

    def __init__(self, code: str = "feature_unavailable") -> None:
        super().__init__(403, {"status": 403, "error": "Forbidden", "code": code})


class NotFound(LagoError):
    """The resource is missing or in the wrong state."""

    def __init__(self, resource: str) -> None:
        super().__init__(404, {"status": 404, "error": "Not Found", "code": f"{resource}_not_found"})


class NotAllowed(LagoError):
    """The state machine refuses."""

    def __init__(self, code: str) -> None:
        super().__init__(405, {"status": 405, "error": "Method Not Allowed", "code": code})


class Invalid(LagoError):
    """Validation failed; ``details`` names the codes per field, or per index for a batch."""

    def __init__(self, details: object) -> None:
        super().__init__(
            422,
            {
                "status": 422,
                "error": "Unprocessable Entity",
                "code": "validation_errors",
                "error_details": details,
            },
        )
