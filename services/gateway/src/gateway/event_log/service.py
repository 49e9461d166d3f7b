"""Reading the log from a number on, without a gap that nobody notices."""

from gateway.event_log.schemas import EventRead, EventsRead
from polaris_common.db import UnitOfWork
from polaris_common.events import log as event_log
from polaris_common.http.errors import ApiError
from polaris_common.identity.principals import Operator


class EventsGone(ApiError):
    """What follows is no longer kept, or the log is another one: the caller must load anew what it knows."""

    status, code, message = 410, "events_gone", "These events are no longer kept. Load everything anew."


async def events_after(uow: UnitOfWork, operator: Operator, after: int | None, *, limit: int) -> EventsRead:
    """What ``operator`` may see of the log after ``after``.

    Raises:
        EventsGone: with the number to go on from, once everything was loaded anew.
    """
    newest = await event_log.last_seq(uow)
    begin = (await event_log.first_seq(uow) or newest + 1) - 1 if after is None else after
    rows = await event_log.read_after(uow, begin, audiences=list(operator.audiences), limit=limit)
    # Asked last, as streams do: what is still there now was there while the rows were read.
    if not await event_log.reaches_back_to(uow, begin, newest=newest):
        raise EventsGone(fields={"resync": True, "after": newest})
    more = len(rows) == limit
    reached = rows[-1].seq if more else max([newest, begin, *(row.seq for row in rows[-1:])])
    return EventsRead(events=[EventRead.of(row) for row in rows], after=reached, more=more)
