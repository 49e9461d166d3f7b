"""Connectors tell when they are used and free again; cards tell where they were used."""

from tests.support.site import NOON, Site


async def _told(site: Site, kind: str) -> list[dict[str, object]]:
    rows = await site.rows(
        "SELECT payload, audience FROM domain_events WHERE type = :kind ORDER BY created_at, id", kind=kind
    )
    expected = {"charger.state": ["public"], "tag.seen": ["operators"]}[kind]
    assert all(row.audience == expected for row in rows)
    return [row.payload for row in rows]


async def _states(site: Site) -> list[tuple[object, object]]:
    return [(each["connectorId"], each["status"]) for each in await _told(site, "charger.state")]


async def test_a_connector_is_charging_while_its_session_is_open_and_then_available(site: Site) -> None:
    transaction = await site.start(connector=2)
    await site.runs.live_poll()
    await site.runs.live_poll()
    assert await _states(site) == [(2, "Charging")]

    site.stop(transaction, 1_000)
    await site.runs.live_poll()
    await site.run()
    assert await _states(site) == [(2, "Charging"), (2, "Available")]

    stored = await site.row("SELECT status, status_at FROM charger_connectors")
    told = (await _told(site, "charger.state"))[-1]
    assert stored.status == "Available"
    assert told.keys() == {"chargeBoxId", "connectorId", "status", "updatedAt"}
    assert told["chargeBoxId"] == "CP-1"


async def test_a_charger_that_steve_no_longer_has_is_unavailable_until_it_returns(site: Site) -> None:
    site.steve.add_charge_box("CP-1")
    await site.charge()
    await site.run()
    site.steve.delete_charge_box("CP-1")
    site.steve.add_charge_box("CP-2")
    await site.run()
    site.steve.add_charge_box("CP-1")
    await site.run()

    assert await _states(site) == [(1, "Available"), (1, "Unavailable"), (1, "Available")]


async def test_operators_see_where_a_card_is_used(site: Site) -> None:
    await site.start(at=NOON)
    await site.runs.live_poll()
    await site.runs.live_poll()

    session = await site.row("SELECT id_tag FROM charging_sessions")
    (seen,) = await _told(site, "tag.seen")
    assert seen == {"idTag": session.id_tag, "chargeBoxId": "CP-1", "seenAt": "2026-03-01T12:00:00.000Z"}
