"""``polaris billing …``: the books, how billing stands, and sending events again."""

import asyncio
import json
import sys
from dataclasses import dataclass

from polaris_cli.database import actor, in_unit_of_work, settings, with_database
from polaris_cli.problems import BadInput, CommandError
from polaris_common.books.invoices import invoice_differences
from polaris_common.books.lago_check import LagoCheck, UsageUnreadable
from polaris_common.books.lago_move import Organisation, accept_move, move_to, read_organisation
from polaris_common.books.redelivery import replay_webhook, resend_lost, retry_event
from polaris_common.books.sentences import sentence
from polaris_common.books.status import billing_status
from polaris_common.books.three_way import Difference, Totals, internal_differences, payers, totals
from polaris_common.clock import to_wire
from polaris_common.db import Database
from polaris_common.energy import kwh_text
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.lago.inbox import InboxRepository
from polaris_common.settings import LagoSettings


def verify() -> int:
    """Compare register, ledger, delivered events, Lago and invoices; 0 when all agree, 1 on any difference.

    Raises:
        CommandError: the database or Lago cannot be reached.
    """
    sums, differences = asyncio.run(with_database(_verify))
    for name, wh in (
        ("metered, settled sessions", sums.metered_wh),
        ("not billed, with a reason", sums.unbilled_wh),
        ("sold, unsettled sessions", sums.unsettled_wh),
        ("in the ledger", sums.ledger_wh),
        ("accepted by Lago", sums.delivered_wh),
    ):
        sys.stdout.write(f"{name:<28}{kwh_text(wh):>16} kWh\n")
    for each in differences:
        sys.stdout.write(f"{sentence(each)}\n")
    sys.stdout.write("The books balance.\n" if not differences else f"{len(differences)} differences.\n")
    return 1 if differences else 0


def status() -> int:
    """Print how billing stands as JSON; 0 when nothing needs a person, 1 otherwise."""
    found = asyncio.run(in_unit_of_work(billing_status))
    sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    events = found["events"]
    fine = found["sending"]["allowed"] and not (
        events["quarantined"] or found["webhooks"]["dead"] or found["findings"] or found["alerts"]
    )
    return 0 if fine else 1


@dataclass(frozen=True)
class Again:
    """Why something is sent again, and whether even into a closed period."""

    reason: str
    although_closed: bool = False


def retry(transaction_id: str, again: Again) -> int:
    """Let a quarantined event be sent again.

    Raises:
        Refused: there is none, it is not quarantined, or its period is closed.
    """
    asyncio.run(
        in_unit_of_work(
            lambda uow: retry_event(
                uow, transaction_id, reason=again.reason, actor=actor(), although_closed=again.although_closed
            )
        )
    )
    sys.stdout.write(f"{transaction_id} will be sent again.\n")
    return 0


def resend(subscription: str, again: Again) -> int:
    """Let the events that Lago lost of a subscription be sent again, as they were.

    Raises:
        Refused: nothing is known to be lost, or the period is closed.
    """
    count = asyncio.run(
        in_unit_of_work(
            lambda uow: resend_lost(
                uow, subscription, reason=again.reason, actor=actor(), although_closed=again.although_closed
            )
        )
    )
    sys.stdout.write(f"{count} events will be sent again.\n")
    return 0


def webhooks() -> int:
    """Print Lago's webhooks that were given up, and why; 0 when there is none, 1 otherwise."""
    dead = asyncio.run(in_unit_of_work(lambda uow: InboxRepository(uow).unsettled()))
    for each in dead:
        about = " ".join(filter(None, (each.object_type, each.lago_object_id)))
        sys.stdout.write(
            f"{each.id}  {to_wire(each.received_at)}  {each.webhook_type}  {about}\n    {each.last_error}\n"
        )
    sys.stdout.write("No webhook was given up.\n" if not dead else "To work one off again: polaris billing replay ID\n")
    return 1 if dead else 0


def replay(inbox_id: int, reason: str) -> int:
    """Let a webhook be worked off again.

    Raises:
        Refused: there is none, or it is no longer kept.
    """
    asyncio.run(in_unit_of_work(lambda uow: replay_webhook(uow, inbox_id, reason=reason, actor=actor())))
    sys.stdout.write("It will be worked off again within seconds: polaris billing webhooks.\n")
    return 0


def accept_lago(code: str | None, reason: str | None) -> int:
    """Show what a move to the Lago organisation of LAGO_API_KEY would mean; with the code that this prints, accept it.

    Raises:
        BadInput: Lago is not configured, or a code comes without a reason.
        CommandError: Lago does not show its lists.
        Refused: Lago shows something else than the code stands for.
    """
    if code is not None and reason is None:
        raise BadInput("Say why: --reason.")
    organisation = asyncio.run(_organisation())
    if code is not None:
        asyncio.run(
            in_unit_of_work(lambda uow: accept_move(uow, organisation, code, reason=reason or "", actor=actor()))
        )
        sys.stdout.write("Accepted. The mirror follows within minutes: polaris billing status.\n")
        return 0
    move = asyncio.run(in_unit_of_work(lambda uow: move_to(uow, organisation)))
    for kind, ids in organisation.ids.items():
        name = f"{kind.replace('_', ' ')}s"
        sys.stdout.write(f"{name:<20}{len(ids):>8} shown {move.leaving[kind]:>8} of ours would go\n")
    sys.stdout.write(f"{move.unpaid_cards} active cards would have no subscription and be switched off.\n")
    sys.stdout.write(f"{move.unsent} events that are not delivered would go to this organisation.\n")
    sys.stdout.write(f"To accept exactly this: polaris billing accept-lago --code {organisation.code} --reason WHY\n")
    return 0


async def _organisation() -> Organisation:
    lago_settings = settings(LagoSettings)
    if lago_settings.lago_api_url is None or lago_settings.lago_api_key is None:
        raise BadInput("LAGO_API_URL and LAGO_API_KEY say which organisation is meant.")
    lago = LagoClient(lago_settings)
    try:
        return await read_organisation(lago)
    except (LagoUnavailable, LagoRefused) as error:
        raise CommandError(f"Lago does not show its lists: {error}.") from None
    finally:
        await lago.close()


async def _verify(database: Database) -> tuple[Totals, list[Difference]]:
    lago_settings = settings(LagoSettings)
    metric_code = lago_settings.lago_metric_code
    async with database.unit_of_work() as uow:
        sums, differences = await totals(uow), await internal_differences(uow)
        differences += await invoice_differences(uow, metric_code=metric_code)
        subscriptions = await payers(uow, metric_code=metric_code)
    if lago_settings.lago_api_url is None or lago_settings.lago_api_key is None:
        return sums, differences
    lago = LagoClient(lago_settings)
    try:
        check = LagoCheck(database, lago, metric_code=metric_code)
        for each in subscriptions:
            differences += await check.compare(each)
    except (LagoUnavailable, LagoRefused, UsageUnreadable) as error:
        raise CommandError(f"Lago does not tell its usage: {error}.") from None
    finally:
        await lago.close()
    return sums, differences
