"""Delivering pushes: at most once each, and never after their time.

A push is taken in one transaction and sent outside of any. When the sender dies in between, the push is lost: a request
that rings twice is worse, and the device hears of it by its stream as well. Only what Apple certainly did not take is
tried again.
"""

from notifier.push import repository as outcomes
from notifier.push.apns import Address, PushResult, PushTransport
from notifier.push.messages import Message, locate, scan_request
from notifier.push.repository import DuePush, PushRepository
from polaris_common.db import Database
from polaris_common.http.transport import backoff_seconds
from polaris_common.side_by_side import side_by_side

MAX_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0


class PushSender:
    """Sends what is due."""

    def __init__(self, database: Database, transport: PushTransport) -> None:
        self._database, self._transport = database, transport

    async def send_due(self) -> None:
        """Send until nothing is due."""
        while due := await self._take():
            await side_by_side(*(self._send(each) for each in due))

    async def forget_old(self) -> None:
        """Delete pushes of long ago."""
        async with self._database.unit_of_work() as uow:
            await PushRepository(uow).delete_old()

    async def _take(self) -> list[DuePush]:
        async with self._database.unit_of_work() as uow:
            return list(await PushRepository(uow).take())

    async def _send(self, due: DuePush) -> None:
        token = due.device.push_token
        if due.nobody_waits or token is None:
            outcome = outcomes.OVER if due.nobody_waits else outcomes.UNREACHABLE
            async with self._database.unit_of_work() as uow:
                await PushRepository(uow).finished(due.push.id, outcome)
            return
        address = Address(token, due.device.apns_environment)
        result = await self._transport.send(address, _message(due), push_id=due.push.id)
        async with self._database.unit_of_work() as uow:
            await self._note(PushRepository(uow), due, token, result)

    async def _note(self, pushes: PushRepository, due: DuePush, token: str, result: PushResult) -> None:
        if result.token_is_dead:
            await pushes.forget_token(due.device.id, token)
        if result.may_be_tried_again and due.push.attempts < MAX_ATTEMPTS:
            pause = backoff_seconds(due.push.attempts, base=FIRST_PAUSE_SECONDS, ceiling=LONGEST_PAUSE_SECONDS)
            await pushes.again(due.push.id, result.reason or "", seconds=FIRST_PAUSE_SECONDS + pause)
        else:
            await pushes.finished(due.push.id, outcomes.SENT if result.ok else result.reason or "")


def _message(due: DuePush) -> Message:
    if due.pairing is not None:
        return scan_request(due.device.id, due.pairing)
    return locate(due.device.id, due.push.id, due.push.expires_at)
