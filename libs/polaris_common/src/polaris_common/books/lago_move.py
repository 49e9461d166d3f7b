"""A deliberate move to another Lago organisation: a person sees what would leave the mirror, then accepts exactly that.

The mirror does not believe a list that lacks more than it shows (a wrong key looks the same). An acceptance names what
the person saw; for a day the mirror believes lists that still show it, and asks Lago about each object all the same.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import text

from polaris_common.books.operator_actions import note_action
from polaris_common.db import UnitOfWork
from polaris_common.http.errors import ApiError
from polaris_common.lago import LagoClient, wire

ACTION, SUBJECT = "lago.accept_organisation", "lago"
VALID_FOR = "1 day"
WITNESSES = 20
"""So many objects of a list stand for it: a list without them is another organisation's."""

_LISTS = ("subscription", "customer", "plan", "billable_metric")

_LEAVING = """
SELECT count(*) AS n FROM lago_{kind}s WHERE deleted_at IS NULL AND lago_id <> ALL(CAST(:shown AS text[]))
"""

_UNPAID_CARDS = text("""
SELECT count(*) AS n FROM tag_mappings AS m
WHERE m.is_active AND m.billing_tier <> 'comped'
  AND EXISTS (SELECT FROM lago_subscriptions AS s WHERE s.deleted_at IS NULL AND s.status = 'active'
              AND (s.external_id = m.lago_subscription_external_id
                   OR m.lago_subscription_external_id IS NULL
                      AND s.external_customer_id = m.lago_customer_external_id))
  AND NOT CASE WHEN m.lago_subscription_external_id IS NULL
               THEN m.lago_customer_external_id = ANY(CAST(:customers AS text[]))
               ELSE m.lago_subscription_external_id = ANY(CAST(:subscriptions AS text[])) END
""")

_UNSENT = text("SELECT count(*) AS n FROM lago_events WHERE status <> 'delivered'")

_ACCEPTED = text(f"""
SELECT details FROM operator_actions
WHERE action = '{ACTION}' AND subject = '{SUBJECT}' AND acted_at > now() - interval '{VALID_FOR}'
ORDER BY id DESC LIMIT 1
""")  # noqa: S608 - our own words


class OtherOrganisation(ApiError):
    """What Lago shows is not what the code stands for."""

    status, code = 409, "lago_shows_something_else"
    message = "Lago does not show what this code stands for: look again and use the new code."


@dataclass(frozen=True)
class Organisation:
    """What Lago shows."""

    ids: Mapping[str, Collection[str]]
    """Kind → the Lago ids that its list shows."""
    paying_customers: Collection[str]
    paying_subscriptions: Collection[str]
    """External ids of active subscriptions and of their customers."""

    @property
    def code(self) -> str:
        """Stands for exactly what is shown."""
        ids = json.dumps([sorted(self.ids[kind]) for kind in _LISTS])
        return hashlib.sha256(ids.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Move:
    """What a move to an organisation would mean."""

    leaving: Mapping[str, int]
    """Kind → mirrored objects that it does not show."""
    unpaid_cards: int
    """Active cards that are paid for now and would not be: they are switched off."""
    unsent: int
    """Events that would be sent to it."""


async def read_organisation(lago: LagoClient) -> Organisation:
    """Read Lago's lists to their ends.

    Raises:
        LagoUnavailable, LagoRefused: Lago does not show its lists.
    """
    subscriptions = [each async for each in lago.subscriptions()]
    active = [each for each in subscriptions if wire.text(each, "status") == "active"]
    return Organisation(
        ids={
            "subscription": _ids(subscriptions),
            "customer": _ids([each async for each in lago.customers()]),
            "plan": _ids([each async for each in lago.plans()]),
            "billable_metric": _ids([each async for each in lago.billable_metrics()]),
        },
        paying_customers=[wire.text(each, "external_customer_id") or "" for each in active],
        paying_subscriptions=[wire.text(each, "external_id") or "" for each in active],
    )


async def move_to(uow: UnitOfWork, organisation: Organisation) -> Move:
    """Compare what Lago shows with the mirror; nothing is changed."""
    paying = {"customers": organisation.paying_customers, "subscriptions": organisation.paying_subscriptions}
    return Move(
        leaving={kind: await _leaving(uow, kind, ids) for kind, ids in organisation.ids.items()},
        unpaid_cards=(await uow.execute(_UNPAID_CARDS, paying)).scalar_one(),
        unsent=(await uow.execute(_UNSENT)).scalar_one(),
    )


async def accept_move(uow: UnitOfWork, organisation: Organisation, code: str, *, reason: str, actor: str) -> None:
    """Note that this organisation is ours from now on; the mirror follows with its next passes.

    Raises:
        OtherOrganisation: ``code`` stands for something else.
        ReasonMissing: nobody said why.
    """
    if code != organisation.code:
        raise OtherOrganisation
    move = await move_to(uow, organisation)
    witnesses = {kind: sorted(ids)[:WITNESSES] for kind, ids in organisation.ids.items()}
    details = {"witnesses": witnesses, "leaving": dict(move.leaving), "unpaidCards": move.unpaid_cards}
    note_action(uow, ACTION, SUBJECT, actor=actor, reason=reason, details=details)


async def is_accepted(uow: UnitOfWork, kind: str, seen: Collection[str]) -> bool:
    """Whether a person has lately accepted the organisation whose list of ``kind`` shows ``seen``."""
    details = (await uow.execute(_ACCEPTED)).scalar_one_or_none()
    if details is None or kind not in details["witnesses"]:
        return False
    witnesses = set(details["witnesses"][kind])
    return witnesses <= set(seen) if witnesses else not seen


def _ids(objects: Collection[Mapping[str, object]]) -> frozenset[str]:
    return frozenset(found for each in objects if (found := wire.text(each, "lago_id")))


async def _leaving(uow: UnitOfWork, kind: str, shown: Collection[str]) -> int:
    return int((await uow.execute(text(_LEAVING.format(kind=kind)), {"shown": list(shown)})).scalar_one())
