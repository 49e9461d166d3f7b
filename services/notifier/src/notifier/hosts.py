"""Which host names are ours."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from notifier.process import Notifier, notifier_of
from polaris_common.http.errors import NotFound
from polaris_common.http.hosts import host_name


def known_host(request: Request, notifier: Annotated[Notifier, Depends(notifier_of)]) -> None:
    """Let requests to the admin and the customer host pass; the port does not matter.

    Raises:
        NotFound: any other host.
    """
    settings = notifier.settings
    ours = {urlsplit(url).hostname for url in (settings.admin_base_url, settings.customer_base_url)}
    if host_name(request.headers.get("host", "")) not in ours:
        raise NotFound
