"""Each difference as one sentence for an operator."""

from polaris_common.books.three_way import Difference, Kind
from polaris_common.energy import kwh_text

_SENTENCES = {
    Kind.LEDGER_SHORT: "{subject}: the meter shows {kwh} kWh more than the ledger has.",
    Kind.LEDGER_EXCESS: "{subject}: the ledger has {kwh} kWh more than the meter shows.",
    Kind.UNDELIVERED: "{subject}: {kwh} kWh wait to be sent to Lago.",
    Kind.QUARANTINED: (
        "{subject}: Lago does not take or count this event of {kwh} kWh;"
        " when the cause is gone: polaris billing retry-event {subject}."
    ),
    Kind.MISSING_IN_LAGO: (
        "{subject}: Lago has lost {events} that it accepted, {kwh} kWh;"
        " to send the same again: polaris billing resend {subscription}."
    ),
    Kind.EXTRA_IN_LAGO: "{subject}: Lago has {events} that we never sent, {kwh} kWh.",
    Kind.VALUE_DIFFERS: "{subject}: Lago shows {events} otherwise than they were sent, by {kwh} kWh.",
    Kind.USAGE_DIFFERS: "{subject}: Lago has every event, but counts {kwh} kWh {direction}.",
    Kind.INVOICE_DIFFERS: "{subject}: the invoice bills {kwh} kWh {direction} than the ledger has for its period.",
}


def sentence(difference: Difference) -> str:
    """What differs, by how much, and what can be done."""
    text = _SENTENCES[difference.kind].format(
        subject=difference.subject,
        subscription=difference.subscription,
        kwh=kwh_text(abs(difference.difference_wh)),
        direction="less" if difference.difference_wh > 0 else "more",
        events="1 event" if difference.event_count == 1 else f"{difference.event_count} events",
    )
    if not difference.transaction_ids:
        return text
    more = (difference.event_count or 0) - len(difference.transaction_ids)
    ids = ", ".join(difference.transaction_ids)
    return f"{text} ({ids}{f' and {more} more' if more > 0 else ''})"
