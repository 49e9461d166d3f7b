"""A running worker looks after reservations and readings without being told."""

from tests.support.worker_processes import served, until, workers
from tests.support.yard import Yard


async def test_a_running_worker_gives_a_due_reservation_to_the_charger(
    yard: Yard, database_url: str, redis_url: str
) -> None:
    reservation = await yard.reserve()

    async def is_held() -> bool:
        return await yard.standing(reservation) == ("confirmed", "held")

    async with (
        served(yard.site.requests) as steve,
        workers(2, database_url=database_url, redis_url=redis_url, steve=steve) as pair,
    ):
        await until(is_held)
        for worker in pair:
            await worker.serving()
        assert [await worker.stop() for worker in pair] == [0, 0]
    assert yard.sent("ReserveNow") == 1


async def test_a_running_worker_reads_what_no_hook_brought(yard: Yard, database_url: str, redis_url: str) -> None:
    transaction = await yard.site.start()
    yard.site.steve.meter_values(transaction, None, [{"value": "1900"}])

    async def is_known() -> bool:
        return bool(await yard.site.rows("SELECT register_wh FROM live_meters WHERE register_wh = 1900"))

    async with (
        served(yard.site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve),
    ):
        await until(is_known)
