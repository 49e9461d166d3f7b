"""What a webhook is about, read from Lago: the object in the webhook may be old by the time it is worked on."""

from billing_bridge.mirror.entities import CUSTOMER, METRIC, PLAN, SUBSCRIPTION, WALLET, Entity
from billing_bridge.mirror.service import Mirror
from billing_bridge.webhooks.repository import Claimed
from polaris_common.lago import wire
from polaris_common.lago.inbox import inner

_CATALOGUE: dict[str, Entity] = {"plan": PLAN, "billable_metric": METRIC}


async def refetch(mirror: Mirror, event: Claimed) -> bool:
    """Bring the mirror up to date with what the webhook is about; whether the safety gate should look again.

    A webhook about nothing that is mirrored, or without the ids to ask for it, changes nothing here.

    Raises:
        LagoUnavailable, LagoRefused, NotMirrorable: nothing is known.
    """
    carried, lago_id = inner(event.payload), event.lago_object_id or ""
    match event.webhook_type.partition(".")[0]:
        case "customer" if event.external_customer_id:
            await mirror.refetch(CUSTOMER, lago_id, event.external_customer_id)
        case "subscription" if event.external_customer_id:
            await mirror.refetch_subscriptions(event.external_customer_id)
        case "subscription" if event.external_subscription_id:
            await mirror.refetch(SUBSCRIPTION, lago_id, event.external_subscription_id)
        case "invoice" if lago_id:
            await mirror.refetch_invoice(wire.text(carried, "lago_invoice_id") or lago_id)
        case "wallet" if lago_id:
            await mirror.refetch(WALLET, lago_id, lago_id)
        case "wallet_transaction" if wallet := wire.text(carried, "lago_wallet_id"):
            await mirror.refetch(WALLET, wallet, wallet)
        case "plan" | "billable_metric" as kind:
            if code := wire.text(carried, "code"):
                await mirror.refetch(_CATALOGUE[kind], lago_id, code)
            return True
    return False
