"""What can go wrong with SteVe, as codes."""

from polaris_common.steve import SteveProtocolError, SteveRefused, SteveUnavailable

STEVE_ERRORS = (SteveUnavailable, SteveProtocolError, SteveRefused)


def code_of(problem: Exception) -> str:
    """The code for programs; anything that is not SteVe's is ``internal``."""
    match problem:
        case SteveUnavailable():
            return "unreachable"
        case SteveRefused(status=401 | 403):
            return "credentials_refused"
        case SteveRefused() | SteveProtocolError():
            return "unexpected_answer"
        case _:
            return "internal"
