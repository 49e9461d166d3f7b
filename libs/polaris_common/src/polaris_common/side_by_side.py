"""Doing several things at once without leaving any of them behind."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def side_by_side(*work: Awaitable[T]) -> list[T]:
    """Do it all at once and wait for every part to end, also when one fails; what each came to, in order.

    ``asyncio.gather`` alone raises at the first failure while the rest goes on with nobody watching: it would write
    after its caller has reported a failure, begun again, or closed the database. A ``TaskGroup`` cuts the rest off and
    hides the failure in an ``ExceptionGroup``, in which callers no longer see an outage.

    Raises:
        What the first part that failed, in order, has raised.
    """
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    done: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done
