"""SteVe's refusals, as exceptions that the edge turns into its error JSON."""

from http import HTTPStatus


class SteveError(Exception):
    """An answer with SteVe's error JSON; the message is free text."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class ValidationFailed(SteveError):
    """400: any binding or validation failure. The reason is only in SteVe's log."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self) -> None:
        super().__init__("Error understanding the request")


class Refused(SteveError):
    """400 with a text: a business refusal."""

    status = HTTPStatus.BAD_REQUEST


class NotFound(SteveError):
    """404."""

    status = HTTPStatus.NOT_FOUND


class TagExists(SteveError):
    """422: the tag exists, or its parent does not."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, id_tag: str) -> None:
        super().__init__(f"A tag with idTag '{id_tag}' exists already.")
