"""The charger registry follows SteVe."""

from tests.support.site import NOON, Site, build_site

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.steve import Profile


async def _chargers(site: Site) -> dict[str, bool]:
    rows = await site.rows("SELECT charge_box_id, gone_at FROM chargers")
    return {row.charge_box_id: row.gone_at is None for row in rows}


async def test_a_removed_charger_is_marked_gone_and_stays_visible_and_one_that_returns_is_back(site: Site) -> None:
    site.steve.add_charge_box("CP-1")
    site.steve.add_charge_box("CP-2")
    await site.run()
    site.steve.delete_charge_box("CP-2")
    await site.run()
    assert await _chargers(site) == {"CP-1": True, "CP-2": False}
    assert set(await site.tiers()) == {"CP-1"}

    site.steve.add_charge_box("CP-2")
    await site.run()
    assert await _chargers(site) == {"CP-1": True, "CP-2": True}


async def test_an_empty_list_makes_no_charger_gone(site: Site) -> None:
    site.steve.add_charge_box("CP-1")
    await site.run()
    site.steve.delete_charge_box("CP-1")
    run = await site.run()
    assert await _chargers(site) == {"CP-1": True}
    assert (await site.segment(run.id, "chargers")).status == "warning"


async def test_a_name_that_steve_no_longer_gives_is_kept(site: Site) -> None:
    site.steve.add_charge_box("CP-1", description="Garage")
    await site.run()
    site.steve.add_charge_box("CP-1", description=None)
    await site.run()
    assert (await site.row("SELECT friendly_name FROM chargers")).friendly_name == "Garage"


async def test_connectors_are_known_once_a_session_has_used_them(site: Site) -> None:
    await site.start(connector=1)
    await site.start(connector=2)
    await site.start(connector=0, at=NOON)
    await site.runs.live_poll()
    await site.runs.live_poll()
    rows = await site.rows("SELECT charge_box_id, connector_id FROM charger_connectors ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [("CP-1", 1), ("CP-1", 2)]


async def test_a_steve_that_cannot_list_charge_boxes_shows_those_with_sessions_and_loses_none(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_site(database, redis_settings, Profile.HEAD, unknown_path_redirects=True) as site:
        await site.start()
        run = await site.run()
        site.steve.delete_charge_box("CP-1")
        await site.run()
        assert run.status == "completed"
        assert await _chargers(site) == {"CP-1": True}


async def test_the_public_id_of_a_charger_never_changes(site: Site) -> None:
    await site.start()
    await site.runs.live_poll()
    before = await site.row("SELECT public_id FROM chargers")
    await site.run()
    await site.run()
    assert await site.row("SELECT public_id FROM chargers") == before
