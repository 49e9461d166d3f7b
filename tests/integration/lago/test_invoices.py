"""Invoices come bit by bit, their fees once they are final; wallets customer by customer."""

from typing import Any

import pytest
from tests.integration.lago.conftest import METRIC, ToldLago, Town

from billing_bridge.mirror.service import Mirror

SWEEPS = ("lago_invoices_open", "lago_invoices_recent", "lago_invoices_unpaid", "lago_invoices", "lago_wallets")


def invoice(lago_id: str, **fields: Any) -> dict[str, Any]:
    """An invoice as Lago's lists show it."""
    return {
        "lago_id": lago_id,
        "status": "finalized",
        "payment_status": "pending",
        "issuing_date": "2026-03-01",
        "total_amount_cents": 100,
        "currency": "EUR",
        "updated_at": "2026-03-01T12:00:00Z",
        "customer": {"lago_id": "x", "external_id": "c-1"},
        **fields,
    }


async def sweep(town: Town, *lists: str) -> None:
    """Let these lists be due again, and read what is due."""
    for component in lists:
        await town.execute("UPDATE component_health SET last_success_at = NULL WHERE component = :name", name=component)
    await town.mirror.sweep_due()


def bill(town: Town, kwh: str = "10.5") -> str:
    """Energy, then the end of the subscription: an invoice over it; its Lago id."""
    town.subscribe(town.customer(), "s-1")
    event = {"transaction_id": "t-1", "external_subscription_id": "s-1", "code": METRIC, "properties": {"value": kwh}}
    town.lago.record_event({**event, "timestamp": int(town.lago.config.clock.now().timestamp())})
    town.lago.subscriptions.terminate(next(iter(town.lago.organization.all_subscriptions())))
    (lago_id,) = town.lago.organization.invoices
    return lago_id


async def test_a_final_invoice_is_mirrored_with_its_customer_and_its_fees(town: Town) -> None:
    lago_id = bill(town)
    await town.mirror.sweep_due()
    found = await town.row("SELECT * FROM lago_invoices")
    assert (found.lago_id, found.external_customer_id, found.status, found.currency) == (
        lago_id,
        "c-1",
        "finalized",
        "EUR",
    )
    assert found.fees_mirrored_at is not None
    assert found.payload["billing_periods"][0]["external_subscription_id"] == "s-1"
    fee = await town.row("SELECT * FROM lago_fees WHERE item_code = :code", code=METRIC)
    assert (fee.invoice_lago_id, fee.external_subscription_id, str(fee.units), fee.amount_cents) == (
        lago_id,
        "s-1",
        "10.5",
        315,
    )
    total = await town.row("SELECT sum(amount_cents) AS cents FROM lago_fees")
    assert total.cents == found.total_amount_cents


async def test_each_list_is_read_when_its_time_has_come_and_not_before(town: Town) -> None:
    await town.mirror.sweep_due()
    first = dict(town.lago.requests)
    await town.mirror.sweep_due()
    assert town.lago.requests == first
    await sweep(town, "lago_invoices_open")
    assert sum(town.lago.requests.values()) == sum(first.values()) + 1
    assert [await town.health(name) for name in SWEEPS] == [None] * 5


async def test_fees_are_fetched_once_and_again_only_when_the_invoice_changes(town: Town) -> None:
    lago_id = bill(town)
    await town.mirror.sweep_due()
    single = ("GET", "/api/v1/invoices/{lago_id}", 200)
    await sweep(town, *SWEEPS)
    assert town.lago.requests[single] == 1
    town.lago.config.clock.advance(60)
    town.lago.invoices.update(lago_id, {"payment_status": "succeeded"})
    await sweep(town, *SWEEPS)
    assert town.lago.requests[single] == 2
    assert (await town.row("SELECT payment_status FROM lago_invoices")).payment_status == "succeeded"


async def test_a_draft_that_became_final_is_noticed_because_the_list_of_drafts_lacks_it(town: Town) -> None:
    town.lago.config.premium, town.lago.config.invoice_grace_period = True, 3
    lago_id = bill(town)
    await town.mirror.sweep_due()
    draft = await town.row("SELECT status, fees_mirrored_at FROM lago_invoices")
    assert (draft.status, draft.fees_mirrored_at) == ("draft", None)
    town.lago.config.clock.advance(60)
    town.lago.invoices.finalize(lago_id)
    await sweep(town, "lago_invoices_open")
    final = await town.row("SELECT status, fees_mirrored_at FROM lago_invoices")
    assert final.status == "finalized"
    assert final.fees_mirrored_at is not None


async def test_a_deleted_draft_is_marked_after_lagos_404(town: Town) -> None:
    town.lago.config.premium, town.lago.config.invoice_grace_period = True, 3
    lago_id = bill(town)
    await town.mirror.sweep_due()
    del town.lago.organization.invoices[lago_id]
    await sweep(town, "lago_invoices_open")
    assert (await town.row("SELECT deleted_at FROM lago_invoices")).deleted_at is not None


async def test_a_fee_that_a_final_invoice_no_longer_has_goes_after_lagos_404(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    fees = [{"lago_id": "f-1", "amount_cents": 60}, {"lago_id": "f-2", "amount_cents": 40}]
    told.lists["invoices"], told.objects["invoices/i"] = [invoice("i")], invoice("i", fees=fees)
    await told_mirror.sweep_due()
    newer = "2026-03-01T12:01:00Z"
    told.objects["invoices/i"] = invoice("i", fees=[{"lago_id": "f-3", "amount_cents": 100}, None], updated_at=newer)
    told.objects["fees/f-1"] = {"lago_id": "f-1", "lago_invoice_id": "i", "amount_cents": 60}
    await told_mirror.refetch_invoice("i")
    rows = await town.rows("SELECT lago_id, deleted_at IS NOT NULL AS gone FROM lago_fees ORDER BY lago_id")
    assert [tuple(row) for row in rows] == [("f-1", False), ("f-2", True), ("f-3", False)]


async def test_an_odd_invoice_costs_only_itself(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    odd = invoice("odd", status="pondering", issuing_date="someday", total_amount_cents="1e400", customer=None)
    told.lists["invoices"] = [invoice("a"), {"number": "no id"}, odd, invoice("b")]
    await told_mirror.sweep_due()
    rows = await town.rows("SELECT lago_id, status, total_amount_cents FROM lago_invoices ORDER BY lago_id")
    assert [tuple(row) for row in rows] == [
        ("a", "finalized", 100),
        ("b", "finalized", 100),
        ("odd", "pondering", None),
    ]


async def test_an_invoice_whose_fees_cannot_be_had_does_not_hold_back_the_others(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["invoices"] = [invoice("a"), invoice("b")]
    told.refused = {"invoices/a": 403}
    told.objects["invoices/b"] = invoice("b", fees=[{"lago_id": "f"}])
    await told_mirror.sweep_due()
    rows = await town.rows("SELECT lago_id, fees_mirrored_at IS NULL AS waits FROM lago_invoices ORDER BY lago_id")
    assert [tuple(row) for row in rows] == [("a", True), ("b", False)]


async def test_an_older_list_does_not_bring_back_an_older_invoice(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["invoices"] = [invoice("i", payment_status="succeeded", updated_at="2026-03-02T00:00:00Z")]
    await told_mirror.sweep_due()
    told.lists["invoices"] = [invoice("i")]
    await town.execute("UPDATE component_health SET last_success_at = NULL")
    await told_mirror.sweep_due()
    assert (await town.row("SELECT payment_status FROM lago_invoices")).payment_status == "succeeded"


async def test_a_failed_list_is_told_and_read_again_soon(
    town: Town, told: ToldLago, told_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    told.refused = {"/invoices": 502}
    await told_mirror.sweep_due()
    assert await town.health("lago_invoices_open") == "unreachable"
    told.refused, told.lists["invoices"] = {}, [invoice("i", status="draft")]
    await told_mirror.sweep_due()
    assert await town.health("lago_invoices_open") is None
    assert (await town.row("SELECT lago_id FROM lago_invoices")).lago_id == "i"


async def test_one_customers_failed_call_costs_no_wallet(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    told.lists["customers"] = [{"lago_id": name, "external_id": name} for name in ("c-1", "c-2")]
    await told_mirror.refresh()
    told.lists["wallets"] = [{"lago_id": "w-1", "external_customer_id": "c-1", "balance_cents": 500}]
    await told_mirror.sweep_due()
    told.lists["wallets"], told.refused = [], {"external_customer_id=c-1": 403}
    await town.execute("UPDATE component_health SET last_success_at = NULL")
    await told_mirror.sweep_due()
    wallet = await town.row("SELECT balance_cents, deleted_at FROM lago_wallets")
    assert (wallet.balance_cents, wallet.deleted_at) == (500, None)
    assert await town.health("lago_wallets") == "credentials_refused"
    told.refused = {}
    await told_mirror.sweep_due()
    assert (await town.row("SELECT deleted_at FROM lago_wallets")).deleted_at is not None


async def test_wallets_are_mirrored(town: Town) -> None:
    customer = town.customer()
    town.lago.create_wallet(
        {"external_customer_id": customer, "currency": "EUR", "rate_amount": "1", "granted_credits": "12.5"}
    )
    await town.mirror.refresh()
    await town.mirror.sweep_due()
    wallet = await town.row("SELECT external_customer_id, status, currency, balance_cents FROM lago_wallets")
    assert tuple(wallet) == ("c-1", "active", "EUR", 1_250)
