"""Where a browser may be sent after sign-in: to a path of ours, never to another site."""

from polaris_common.http.errors import ApiError, NotFound
from polaris_common.http.surfaces import Surface

MAX_PATH_LENGTH = 2000
_LAST_CONTROL, _DELETE = "\x1f", "\x7f"


class InvalidCallback(ApiError):
    """The page to return to is not a path of ours."""

    status, code, message = 403, "invalid_callback_url", "The page to return to must be a path that starts with one /."


def is_own_path(text: str) -> bool:
    """Whether browsers read ``text`` as a path on the same host: no scheme, no host, nothing that they would strip."""
    return (
        len(text) <= MAX_PATH_LENGTH
        and text.startswith("/")
        and not text.startswith("//")
        and "\\" not in text
        and all(character > _LAST_CONTROL and character != _DELETE for character in text)
    )


def own_path(text: str | None, *, otherwise: str = "/") -> str:
    """``text`` when it is a path of ours."""
    return text if text is not None and is_own_path(text) else otherwise


def require_own_path(text: str | None) -> str | None:
    """``text`` unchanged.

    Raises:
        InvalidCallback: it is given and leads elsewhere.
    """
    if text is not None and not is_own_path(text):
        raise InvalidCallback
    return text


def only_on(wanted: Surface, surface: Surface | None) -> None:
    """Pass on the right host.

    Raises:
        NotFound: on the other one.
    """
    if surface is not wanted:
        raise NotFound
