"""The cadence as the worker lives it: what promotes, what demotes, what is kept."""

from datetime import timedelta

import pytest
from tests.support.site import NOON, Site

from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.domain.cadence import CadencePolicy, Tier
from polaris_sim.faults import Fault, FaultRule

LONG_AGO = "UPDATE charger_cadence SET last_activity_at = now() - interval '40 days', evaluated_at = now()"


async def _dormant(site: Site, box: str = "CP-1") -> None:
    """A site at rest for months."""
    site.steve.add_charge_box(box)
    await site.in_operation()
    await site.execute("DELETE FROM tag_change_log")
    await site.execute("UPDATE chargers SET first_seen_at = now() - interval '40 days'")
    for _ in range(6):
        await site.execute(LONG_AGO)
        await site.run()
    assert (await site.fleet(), await site.tiers()) == ("dormant", {box: "dormant"})


async def _age_last_run(site: Site, age: str) -> None:
    await site.execute("UPDATE sync_runs SET completed_at = now() - CAST(:age AS text)::interval", age=age)


async def _count(site: Site) -> int:
    return int((await site.row("SELECT count(*) AS n FROM sync_runs")).n)


async def test_a_transaction_wakes_a_dormant_site_as_soon_as_a_poll_sees_it(site: Site) -> None:
    await _dormant(site)
    await site.start()
    await site.runs.live_poll()
    assert (await site.fleet(), await site.tiers()) == ("active", {"CP-1": "active"})


async def test_a_short_session_that_is_over_already_wakes_it_too(site: Site) -> None:
    await _dormant(site)
    await site.charge()
    await site.run()
    assert await site.fleet() == "active"


async def test_a_hook_call_wakes_it(site: Site) -> None:
    await _dormant(site)
    async with site.database.unit_of_work() as uow:
        await ScheduleRepository(uow).promote(["CP-1"])
    assert await site.fleet() == "active"
    await _age_last_run(site, "16 minutes")
    before = await _count(site)
    await site.runs.run_if_due()
    assert await _count(site) == before + 1


async def test_an_operators_trigger_wakes_the_whole_fleet(site: Site) -> None:
    await _dormant(site)
    await site.trigger()
    assert await site.tiers() == {"CP-1": "active"}
    await site.runs.run_if_due()
    assert await site.fleet() == "active"


async def test_each_charge_box_has_its_own_tier_and_the_fleet_the_most_active(site: Site) -> None:
    await site.in_operation()
    await site.start(box="CP-1")
    site.steve.add_charge_box("CP-2")
    for _ in range(4):
        await site.run()
    assert await site.tiers() == {"CP-1": "active", "CP-2": "idle"}
    assert await site.fleet() == "active"


async def test_a_zombie_keeps_nobody_awake(site: Site) -> None:
    await site.start()
    await site.in_operation()
    await site.execute("UPDATE charging_sessions SET created_at = now() - interval '3 days'")
    for _ in range(4):
        await site.run()
    assert await site.fleet() == "idle"


async def test_demotion_goes_one_step_after_as_many_quiet_runs_as_configured(site: Site) -> None:
    site = site.restarted(policy=CadencePolicy(hysteresis_ticks=3))
    transaction = await site.start()
    await site.run()
    site.stop(transaction, 2_000)
    await site.run()
    tiers = []
    for _ in range(4):
        await site.run()
        tiers.append(await site.fleet())
    assert tiers == ["active", "active", "idle", "idle"]


async def test_a_recent_session_or_tag_change_keeps_a_site_from_going_dormant(site: Site) -> None:
    await site.charge()
    await site.in_operation()
    for _ in range(6):
        await site.run()
    assert await site.fleet() == "idle"


async def test_an_unreachable_steve_demotes_nothing(site: Site) -> None:
    transaction = await site.start()
    await site.in_operation()
    site.stop(transaction, 2_000)
    await site.run()
    site.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, status=401)])
    for _ in range(5):
        await site.run()
    assert (await site.fleet(), await site.tiers()) == ("active", {"CP-1": "active"})
    assert (await site.row("SELECT quiet_ticks FROM charger_cadence")).quiet_ticks == 0


async def test_the_state_survives_a_restart(site: Site) -> None:
    await site.start()
    await site.in_operation()
    fresh = site.restarted()
    await fresh.runs.run_if_due()
    assert await _count(site) == 1
    assert await fresh.tiers() == {"CP-1": "active"}


@pytest.mark.parametrize(("tier", "age"), [("active", "15 minutes"), ("idle", "1 hour"), ("dormant", "7 days")])
async def test_a_run_is_due_by_the_tier_and_not_before(site: Site, tier: str, age: str) -> None:
    await site.in_operation()
    await site.execute("UPDATE sync_schedule SET tier = :tier", tier=tier)
    await _age_last_run(site, f"{age} -5 seconds")
    await site.runs.run_if_due()
    assert await _count(site) == 1
    await _age_last_run(site, age)
    await site.runs.run_if_due()
    assert await _count(site) == 2


async def test_a_pin_takes_effect_at_the_workers_next_look_and_ends_by_itself(site: Site) -> None:
    await _dormant(site)
    await _age_last_run(site, "20 minutes")
    before = await _count(site)
    await site.runs.run_if_due()
    assert await _count(site) == before

    await site.pin(Tier.ACTIVE)
    await site.runs.run_if_due()
    assert await _count(site) == before + 1

    await site.execute("UPDATE sync_schedule SET pinned_until = now() - interval '1 second'")
    await _age_last_run(site, "20 minutes")
    await site.runs.run_if_due()
    assert await _count(site) == before + 1


async def test_a_pin_to_dormant_holds_even_while_cars_charge(site: Site) -> None:
    await site.start()
    await site.in_operation()
    await site.pin(Tier.DORMANT)
    await _age_last_run(site, "2 hours")
    await site.runs.run_if_due()
    assert await _count(site) == 1


@pytest.mark.parametrize("hours", [0, 337])
async def test_a_pin_lasts_from_an_hour_to_two_weeks(site: Site, hours: int) -> None:
    with pytest.raises(ValueError, match="fourteen days"):
        await site.pin(Tier.ACTIVE, hours)


async def test_people_see_when_the_next_run_is_due(site: Site) -> None:
    await site.in_operation()
    await site.execute("UPDATE sync_schedule SET tier = 'idle'")
    await site.runs.run_if_due()
    row = await site.row("SELECT s.next_run_at - r.completed_at AS later FROM sync_schedule s, sync_runs r")
    assert row.later == timedelta(hours=1)


async def test_a_fixed_schedule_wins_over_tier_and_pin(site: Site) -> None:
    site = site.restarted(policy=CadencePolicy(cron="0 0 1 1 *"))
    await site.in_operation()
    await site.pin(Tier.ACTIVE)
    await _age_last_run(site, "3 hours")
    await site.runs.run_if_due()
    assert await _count(site) == 1
    await _age_last_run(site, "366 days")
    await site.runs.run_if_due()
    assert await _count(site) == 2


async def test_a_run_says_what_became_of_the_cadence(site: Site) -> None:
    await site.start()
    await site.run()
    line = await site.row("SELECT context FROM sync_run_logs WHERE segment = 'scheduling'")
    assert (line.context["from"], line.context["to"]) == ("idle", "active")
    assert line.context["pinned"] is False
    assert line.context["nextRunAt"].endswith("Z")


async def test_a_failed_run_is_tried_again_at_once_and_then_not_every_second(site: Site) -> None:
    await site.in_operation()
    await _age_last_run(site, "8 days")
    site.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, status=401)])
    for _ in range(5):
        await site.runs.run_if_due()
    assert await _count(site) == 3


async def test_imported_history_is_no_activity(site: Site) -> None:
    for hour in range(0, 10, 2):
        await site.charge(at=NOON + timedelta(hours=hour))
    await site.run()
    assert await site.fleet() == "idle"
