"""Cards follow their subscription: off when it has ended and no other pays, on again when one does.

Only what was switched off for this reason is ever switched on: a lost card and one that an operator disabled stay off.
"""

from sqlalchemy import func, select, text

from polaris_common.charging.session_stops import SessionStopRepository
from polaris_common.db import LockName, UnitOfWork
from polaris_common.events.catalogue import Audience, CardsSwitched
from polaris_common.models import DeactivationReason, StopReason

REASON = DeactivationReason.SUBSCRIPTION_TERMINATED.value

# What a mapping resolves to: the subscription that it names, else any of its customer; one join each, so that no
# mapping is compared with every subscription. A subscription that waits to start keeps the card, and so does one whose
# object nobody has seen end. A comped card needs no subscription.
_RESOLVED = """
    SELECT m.id, m.user_id,
           bool_or(s.status = 'active' AND s.deleted_at IS NULL) AS pays,
           bool_or(s.status = 'terminated' OR s.deleted_at IS NOT NULL)
               AND NOT bool_or(s.status NOT IN ('terminated', 'canceled') AND s.deleted_at IS NULL) AS ended,
           coalesce(m.lago_customer_external_id, min(s.external_customer_id)) AS customer
    FROM (
        SELECT n.id AS mapping_id, t.* FROM tag_mappings n
        JOIN lago_subscriptions t ON t.external_id = n.lago_subscription_external_id
        UNION ALL
        SELECT n.id, t.* FROM tag_mappings n
        JOIN lago_subscriptions t ON t.external_customer_id = n.lago_customer_external_id
        WHERE n.lago_subscription_external_id IS NULL
    ) AS s JOIN tag_mappings m ON m.id = s.mapping_id
    WHERE CAST(:customer AS text) IS NULL
       OR m.lago_customer_external_id = :customer
       OR m.lago_subscription_external_id IN
          (SELECT external_id FROM lago_subscriptions WHERE external_customer_id = :customer)
    GROUP BY m.id
"""

_SWITCH_OFF = text(f"""
    WITH resolved AS ({_RESOLVED})
    UPDATE tag_mappings AS m
    SET is_active = false, deactivation_reason = :reason, deactivated_at = now(), updated_at = now()
    FROM resolved AS r
    WHERE m.id = r.id AND r.ended AND m.is_active AND m.billing_tier <> 'comped'
    RETURNING m.id, m.user_id, r.customer
""")  # noqa: S608 - no input in it

_SWITCH_ON = text(f"""
    WITH resolved AS ({_RESOLVED})
    UPDATE tag_mappings AS m
    SET is_active = true, deactivation_reason = NULL, deactivated_at = NULL, updated_at = now()
    FROM resolved AS r
    WHERE m.id = r.id AND r.pays AND NOT m.is_active AND m.deactivation_reason = :reason
    RETURNING m.id, m.user_id, r.customer
""")  # noqa: S608

_CARDS_OF = text("""
    SELECT m.id FROM tag_mappings m
    WHERE CASE WHEN CAST(:subscription AS text) IS NULL THEN m.lago_customer_external_id = :customer
               ELSE m.lago_subscription_external_id = :subscription
                    OR (m.lago_subscription_external_id IS NULL AND m.lago_customer_external_id = :customer) END
""")


async def switch_cards(uow: UnitOfWork, *, customer: str | None = None) -> list[int]:
    """Bring the cards (of one customer, when named) in line with the mirrored subscriptions; the mappings that changed.

    Sessions that run on a card that goes off are to be stopped.
    """
    await uow.execute(select(func.pg_advisory_xact_lock(int(LockName.LAGO_CARDS))))
    changed: list[int] = []
    for statement, active in ((_SWITCH_OFF, False), (_SWITCH_ON, True)):
        rows = (await uow.execute(statement, {"customer": customer, "reason": REASON})).all()
        changed += [row.id for row in rows]
        for owner in sorted({(row.customer or "", row.user_id) for row in rows}, key=str):
            uow.emit(
                CardsSwitched(
                    audience=Audience.operators_and(owner[1]),
                    active=active,
                    reason=REASON,
                    user_mapping_ids=sorted(row.id for row in rows if (row.customer or "", row.user_id) == owner),
                    external_customer_id=owner[0],
                )
            )
        if not active:
            await stop_sessions(uow, [row.id for row in rows], reason=REASON)
    return changed


async def cards_of(uow: UnitOfWork, *, customer: str | None, subscription: str | None = None) -> list[int]:
    """The mappings that resolve to a subscription, or all of a customer's when none is named."""
    rows = await uow.execute(_CARDS_OF, {"customer": customer, "subscription": subscription})
    return list(rows.scalars())


async def stop_sessions(uow: UnitOfWork, mappings: list[int], *, reason: str) -> int:
    """Ask for a stop of every running session of these mappings, inherited ones included; how many there are."""
    return await SessionStopRepository(uow).want_of_cards(mappings, StopReason(reason))
