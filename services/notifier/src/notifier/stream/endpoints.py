"""The streams' routes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from notifier.process import Notifier, notifier_of
from notifier.stream.hub import StreamLimit
from notifier.stream.response import EventStreamResponse
from notifier.stream.service import read_event_id
from notifier.surface import on_our_surface
from polaris_common.http.errors import NotFound, ServiceUnavailable, Unauthorized, errors
from polaris_common.identity.sessions import cookie_name

SESSION_COOKIES = (cookie_name(secure=True), cookie_name(secure=False))

router = APIRouter(prefix="/api/stream", tags=["streams"], dependencies=[Depends(on_our_surface)])


@router.get(
    "/customer",
    response_class=EventStreamResponse,
    responses=errors(Unauthorized, NotFound, StreamLimit, ServiceUnavailable),
)
async def customer_stream(
    request: Request,
    notifier: Annotated[Notifier, Depends(notifier_of)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> EventStreamResponse:
    """Live events of the signed-in driver: sessions, billing and what their cars draw.

    Resumes after ``Last-Event-ID`` on any replica; one ``resync`` event when that is too far back.
    """
    tokens = [request.cookies[name] for name in SESSION_COOKIES if name in request.cookies]
    connection = await notifier.opener.open_customer(tokens, last_event_id=read_event_id(last_event_id))
    return EventStreamResponse(connection, notifier.hub, notifier.catch_up)
