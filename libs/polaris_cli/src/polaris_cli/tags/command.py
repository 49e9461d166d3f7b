"""``polaris tags consent``: what waits for an operator's word, and giving it."""

import asyncio
import sys

from polaris_cli.database import in_unit_of_work
from polaris_cli.problems import BadInput
from polaris_common.charging.tag_consents import TagConsentRepository, decide
from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork


def consent(consent_id: int | None, *, approve: bool, refuse: bool) -> int:
    """Show the request to block tags that waits, or answer the request ``consent_id``; the next run acts on it.

    Raises:
        BadInput: it is not said what the answer is, or to what.
        Refused: there is no such request, or it has been decided otherwise.
    """
    if consent_id is None:
        if approve or refuse:
            raise BadInput("Say which request: polaris tags consent shows it.")
        sys.stdout.write(asyncio.run(in_unit_of_work(_waiting)))
        return 0
    if approve == refuse:
        raise BadInput("Say either --approve or --refuse.")
    decided = asyncio.run(in_unit_of_work(lambda uow: decide(uow, consent_id, approved=approve, by=None)))
    count = len(decided.id_tags)
    sys.stdout.write(
        f"The next run blocks these {count} tags.\n" if approve else f"These {count} tags stay unblocked.\n"
    )
    return 0


async def _waiting(uow: UnitOfWork) -> str:
    request = await TagConsentRepository(uow).open()
    if request is None:
        return "No request waits.\n"
    tags = "\n".join(f"  {tag}" for tag in request.id_tags)
    return f"Request {request.id} of {to_wire(request.requested_at)}: block {len(request.id_tags)} tags?\n{tags}\n"
