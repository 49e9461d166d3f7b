"""What must hold once everything works again and there is nothing left to do."""

from collections.abc import Mapping, Sequence

from tests.chaos.books import Books
from tests.chaos.charges import Charge
from tests.chaos.city import City

_OFF_BY_A_PERSON = ("operator", "reported_lost")


async def every_session_is_known_and_ended(city: City, charges: Sequence[Charge]) -> None:
    """SteVe's stop values are ours; only what nobody can believe is set aside."""
    sessions = (await Books.read(city)).sessions
    for charge in charges:
        session = sessions.get(charge.transaction)
        if session is None:
            assert charge.gone, f"{charge.transaction} was never found"
            continue
        believable = charge.stop_wh is not None and charge.stop_wh >= charge.start_wh
        if believable and not charge.gone:
            found = (session["state"], session["stop_wh"], session["quarantine_reason"])
            assert found == ("settled", charge.stop_wh, None), f"{charge.transaction}: {found}"
        assert session["state"] in ("settled", "quarantined"), f"{charge.transaction} is {session['state']}"


async def what_is_not_billed_says_why(city: City) -> None:
    """The reason is the true one."""
    mapped = {row["id_tag"] for row in await city.rows("SELECT id_tag FROM tag_mappings WHERE is_active")}
    payable = await _customers_who_pay(city)
    for transaction, session in (await Books.read(city)).sessions.items():
        match session["reason"]:
            case None:
                assert session["billing"] == "billed", f"{transaction} is {session['billing']}"
            case "unmapped":
                assert session["id_tag"] not in mapped, f"{transaction} is mapped"
            case "no_subscription":
                assert len(payable) < len(await _customers(city)), f"{transaction}: everybody has a subscription"
            case "implausible":
                assert session["state"] == "quarantined", f"{transaction} is {session['state']}"
            case "zero_energy":
                assert session["start_wh"] == session["stop_wh"], f"{transaction} has energy"
            case "flat_rate":
                assert city.flat_rates, f"{transaction}: nobody has a flat rate"
            case reason:
                raise AssertionError(f"{transaction} waits for {reason}")


async def everything_payable_is_paid(city: City) -> None:
    """Everybody has a card and a subscription now: every settled session is in Lago to the watt-hour."""
    books = await Books.read(city)
    waiting = [name for name, event in books.events.items() if event.status != "delivered"]
    assert not waiting, f"not delivered: {waiting}"
    for transaction, session in books.sessions.items():
        accepted, billed = books.accepted_wh.get(transaction, 0), session["billed_wh"]
        assert accepted == billed, f"{transaction}: Lago has {accepted} of {billed} Wh"
        if session["state"] == "settled" and session["reason"] != "flat_rate":
            metered = session["stop_wh"] - session["start_wh"]
            assert accepted == metered, f"{transaction}: Lago has {accepted} of {metered} Wh"


async def billing_again_makes_no_new_event(city: City) -> None:
    """The same again leads to the same keys."""
    before = (await Books.read(city)).events
    await city.execute("UPDATE charging_sessions SET revision = revision + 1")
    await city.do("bill_due")
    assert (await Books.read(city)).events == before


async def every_webhook_had_one_effect(city: City) -> None:
    """However often it came, and however often a worker died over it."""
    inbox = await city.rows("SELECT unique_key, webhook_type, status FROM lago_webhook_events")
    assert {row["unique_key"] for row in inbox} == city.delivered, "a webhook is missing"
    assert {row["status"] for row in inbox} <= {"processed"}, "a webhook was not worked off"
    told = await city.rows(
        "SELECT FROM domain_events WHERE type = 'operator.notice' AND payload->>'kind' = 'lago_subscription_started'"
    )
    started = [row for row in inbox if row["webhook_type"] in ("subscription.started", "subscription.created")]
    assert len(told) == len(started), f"{len(told)} notices of {len(started)} subscriptions"


async def a_card_that_is_off_is_blocked(city: City) -> None:
    """In SteVe, where it counts."""
    query = "SELECT id_tag FROM tag_mappings WHERE NOT is_active AND deactivation_reason = ANY($1)"
    for row in await city.rows(query, _OFF_BY_A_PERSON):
        tag = city.steve.state.tag(row["id_tag"])
        assert tag is None or tag.max_active_transaction_count == 0, f"{row['id_tag']} may charge"


async def a_card_that_is_on_may_charge(city: City) -> None:
    """Somebody pays for it."""
    for row in await city.rows("SELECT id_tag FROM tag_mappings WHERE is_active"):
        tag = city.steve.state.tag(row["id_tag"])
        assert tag is None or tag.max_active_transaction_count != 0, f"{row['id_tag']} is blocked"


async def nobody_hears_what_is_not_for_them(city: City) -> None:
    """Besides operators at most one driver, never of our troubles; everybody only what names nobody."""
    people = {f"user:{row['id']}" for row in await city.rows("SELECT id FROM users")}
    query = "SELECT type, audience, payload ?| $1 AS names_somebody FROM domain_events"
    for row in await city.rows(query, ["sessionId", "transactionId", "idTag", "externalCustomerId"]):
        type_, others = row["type"], set(row["audience"]) - {"operators"}
        if others == {"public"}:
            assert not row["names_somebody"], f"everybody hears of {type_}"
            continue
        assert len(others) <= 1, f"{type_} is for {row['audience']}"
        assert others <= people, f"{type_} is for {row['audience']}"
        assert not others or not type_.startswith("operator."), f"{type_} is for {row['audience']}"


async def who_was_switched_off_is_off(city: City, off: Mapping[str, str]) -> None:
    """Nothing but a person switches a card on that a person has switched off; ``off``: with their reasons."""
    rows = await city.rows(
        "SELECT id_tag, is_active, deactivation_reason FROM tag_mappings WHERE id_tag = ANY($1)", [*off]
    )
    for row in rows:
        assert not row["is_active"], f"{row['id_tag']} was switched on by itself"
        assert row["deactivation_reason"] == off[row["id_tag"]], f"{row['id_tag']}: {row['deactivation_reason']}"


async def conclusions(city: City) -> Mapping[str, object]:
    """What must stay as it is while another system does not answer."""
    queries = {
        "sessions": "SELECT steve_transaction_id, state, vanished_at FROM charging_sessions ORDER BY 1",
        "cards": "SELECT id_tag, is_active, deactivation_reason FROM tag_mappings ORDER BY 1",
        "tiers": "SELECT charge_box_id, tier FROM charger_cadence ORDER BY 1",
        "subscriptions": "SELECT lago_id, status, deleted_at FROM lago_subscriptions ORDER BY 1",
        "customers": "SELECT lago_id, deleted_at FROM lago_customers ORDER BY 1",
        "tags": "SELECT ocpp_tag_pk, deleted_at FROM ocpp_tags ORDER BY 1",
        "delivered": "SELECT transaction_id, status FROM lago_events ORDER BY 1",
    }
    found: dict[str, object] = {name: [tuple(row) for row in await city.rows(sql)] for name, sql in queries.items()}
    found["limits"] = [(tag.id_tag, tag.max_active_transaction_count) for tag in city.steve.state.tags()]
    return found


async def _customers(city: City) -> set[str]:
    return {row["external_id"] for row in await city.rows("SELECT external_id FROM lago_customers")}


async def _customers_who_pay(city: City) -> set[str]:
    chains = city.lago.organization.subscriptions
    running = [city.active_subscription(external_id) for external_id in chains]
    return {each.customer.external_id for each in running if each is not None}
