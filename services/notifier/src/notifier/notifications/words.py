"""Codes as people read them."""

_WORDS = {
    "wallet_depleted": "the prepaid balance is used up",
    "subscription_terminated": "the subscription has ended",
    "usage_cap_exceeded": "the agreed limit is reached",
    "card_reported_lost": "its card was reported lost",
    "manual": "an operator stopped it",
    "reported_lost": "it was reported lost",
    "operator": "an operator switched it off",
    "expired": "it has expired",
    "start_value_unreadable": "its start value cannot be read",
    "stop_value_unreadable": "its stop value cannot be read",
    "negative_energy": "its register went backwards",
    "register_reset": "its register was reset",
    "too_much_energy": "it claims more energy than is believable",
    "over_max_power": "it claims more power than is believable",
    "zombie_superseded": "its connector has begun another session",
    "zombie_silent": "nothing was heard of it for too long",
    "vanished_in_steve": "SteVe no longer has it",
    "unsupported": "the charger cannot reserve",
    "unknown": "the charger's answer was lost",
    "left": "the charger would not let go of it",
    "unreachable": "it cannot be reached",
    "credentials_refused": "it refuses our credentials",
    "unexpected_answer": "it answers something unexpected",
    "missing": "the metric does not exist",
    "aggregation_type": "the metric does not sum up",
    "field_name": "the metric reads another field",
    "recurring": "the metric never starts over",
    "differs": "the addresses differ",
    "taken": "somebody else has the address",
    "no_answer": "the charger does not answer",
    "ledger_short": "energy is missing in the ledger",
    "ledger_excess": "the ledger has too much energy",
    "undelivered": "energy is not delivered to Lago",
    "missing_in_lago": "energy is missing in Lago",
    "extra_in_lago": "Lago has energy that is not ours",
    "value_differs": "Lago has another value",
    "usage_differs": "Lago's usage differs",
    "invoice_differs": "an invoice differs",
    "dead_in_lago": "Lago will not count an event",
    "quarantined": "Lago refused an event",
}
"""What a code says; one that is not here is shown as it is."""


def words(code: object) -> str:
    """The code in words."""
    text = "" if code is None else str(code)
    return _WORDS.get(text, text)
