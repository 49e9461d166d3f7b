"""On which of our surfaces a stream is asked for."""

from typing import Annotated

from fastapi import Depends, Request

from notifier.process import Notifier, notifier_of
from polaris_common.http.surfaces import Surface


def on_our_surface(request: Request, notifier: Annotated[Notifier, Depends(notifier_of)]) -> Surface | None:
    """Let requests pass to a host of ours that has the path.

    Raises:
        NotFound: any other host, or the other surface's.
    """
    return notifier.surfaces.place(request.scope)
