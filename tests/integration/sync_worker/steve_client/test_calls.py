"""What the client makes of each version of SteVe and of broken answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.support.site import NOON, Site, build_site

from polaris_common.db import Database
from polaris_common.settings import RedisSettings, SteveSettings
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveTransactions, SteveUnavailable
from polaris_common.steve.probe import probe
from polaris_common.steve.transaction_calls import (
    EVERYTHING,
    stop_report,
    streamed_transactions,
    transaction_detail,
    transactions_by_id,
)
from polaris_common.steve.wire import SteveTransaction
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve import Profile

JSON = "application/json"
STEVE = SteveSettings(STEVE_BASE_URL="http://steve.test", steve_api_username="polaris", steve_api_key="steve-password")


class HeldOpen(httpx.AsyncByteStream):
    """A long list whose end never comes."""

    closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"[" + b'{"id": 1},' * 1_000
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """The connection is given up."""
        self.closed = True


async def whole_table(client: SteveClient) -> SteveTransactions:
    """All that a stream has."""
    found = SteveTransactions()
    async with streamed_transactions(client, EVERYTHING) as portions:
        async for portion in portions:
            found.add(portion)
    return found


@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize(
    ("profile", "version"),
    [
        (Profile.V3_8, "3.8 to 3.10"),
        (Profile.V3_11, "3.11"),
        (Profile.V3_12, "3.12 to 3.14"),
        (Profile.V3_12_FORK, "fork of 3.12"),
        (Profile.V3_13, "3.12 to 3.14"),
        (Profile.HEAD, "newer than 3.14"),
    ],
)
async def test_a_version_is_known_by_what_it_can_do(
    database: Database, redis_settings: RedisSettings, profile: Profile, version: str, redirects: bool
) -> None:
    async with build_site(database, redis_settings, profile, unknown_path_redirects=redirects) as site:
        found = await probe(site.client)
        features = site.steve.features
        assert found.version == version
        assert (found.id_lists, found.details, found.stop_report, found.charge_boxes, found.expire) == (
            features.list_filters,
            features.details,
            features.csv,
            features.charge_boxes,
            features.expire,
        )


async def test_a_steve_without_basic_auth_is_refused(database: Database, redis_settings: RedisSettings) -> None:
    async with build_site(database, redis_settings, Profile.V3_7_1) as site:
        with pytest.raises((SteveUnavailable, SteveRefused, SteveProtocolError)):
            await probe(site.client)


async def test_a_wrong_password_is_a_refusal_and_an_outage_is_none(site: Site) -> None:
    site.steve.credentials.rotate("another")
    site.steve.credentials.forget()
    with pytest.raises(SteveRefused):
        await probe(site.client)
    site.steve.faults.replace([FaultRule(Fault.HTML_502)])
    with pytest.raises(SteveUnavailable):
        await probe(site.client)


async def test_an_outage_in_the_middle_of_a_probe_is_no_missing_ability(site: Site) -> None:
    site.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, path="csv", status=503)])
    with pytest.raises(SteveUnavailable):
        await probe(site.client)


async def test_the_upgrade_of_a_steve_is_noticed_by_the_next_run(site: Site) -> None:
    features = site.steve.features
    await site.charge()
    site.steve.features = replace(features, list_filters=False)
    await site.run()
    assert not (await site.transactions.capabilities()).id_lists
    site.steve.features = features
    await site.run()
    assert (await site.transactions.capabilities()).id_lists


async def test_a_whole_table_comes_in_portions_and_complete(site: Site) -> None:
    transactions = [await site.charge(at=NOON + timedelta(hours=2 * n)) for n in range(40)]
    found = await whole_table(site.client)
    assert [transaction.id for transaction in found.readable] == transactions[::-1]


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.RESET, Fault.HTML_502, Fault.ERROR_BEFORE])
async def test_a_whole_table_that_breaks_off_is_an_error(site: Site, fault: Fault) -> None:
    await site.charge()
    site.steve.faults.replace([FaultRule(fault)])
    with pytest.raises((SteveUnavailable, SteveProtocolError)):
        await whole_table(site.client)


@pytest.mark.parametrize("body", ["", "[{", '[{"id": 1}, <html>', '{"error": "no list"}'])
async def test_a_body_that_is_no_whole_list_is_an_error_even_if_it_arrived_completely(body: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=body, headers={"content-type": JSON}))
    client = SteveClient(STEVE, transport=transport)
    with pytest.raises(SteveProtocolError):
        await whole_table(client)
    await client.close()


async def test_whoever_fails_over_a_portion_leaves_no_answer_open() -> None:
    body = HeldOpen()
    answer = httpx.Response(200, stream=body, headers={"content-type": JSON})
    client = SteveClient(STEVE, transport=httpx.MockTransport(lambda _: answer))

    async def fail_over_the_first() -> None:
        async with streamed_transactions(client, EVERYTHING) as portions:
            async for _ in portions:
                raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await fail_over_the_first()
    assert body.closed
    await client.close()


async def test_a_sign_in_page_is_no_empty_table(database: Database, redis_settings: RedisSettings) -> None:
    async with build_site(database, redis_settings, unknown_path_redirects=True) as site:
        with pytest.raises(SteveProtocolError):
            async for _ in site.client.stream("/nothing", {}):
                pass


async def test_a_transaction_can_be_read_with_its_readings(database: Database, redis_settings: RedisSettings) -> None:
    async with build_site(database, redis_settings, Profile.V3_13) as site:
        transaction = await site.start()
        site.steve.meter_values(transaction, NOON, [{"value": "7.2", "measurand": "Power.Active.Import", "unit": "kW"}])
        detail = await transaction_detail(site.client, transaction)
        assert detail is not None
        assert [(each.value, each.unit, each.sampled_at) for each in detail.readings] == [("7.2", "kW", NOON)]
        assert await transaction_detail(site.client, 9_999) is None


async def test_the_report_has_the_stops_of_a_time_span_by_stop_time(site: Site) -> None:
    transaction = await site.charge(4_000, at=NOON)
    ended = NOON + timedelta(hours=1)
    (stop,) = await stop_report(site.client, ended, ended + timedelta(seconds=1))
    assert (stop.transaction_id, stop.stop_timestamp, stop.stop_value) == (transaction, ended, "4000")
    assert await stop_report(site.client, NOON, ended) == []


@pytest.mark.parametrize("nothing", ["", "null", "NULL", "{null}"])
async def test_a_line_of_the_report_that_cannot_be_read_hides_no_other(nothing: str) -> None:
    lines = (
        "transaction_pk,stop_event_actor,stop_timestamp,stop_value",
        f"1,{nothing},{nothing},{nothing}",
        "2,station,not a time,5",
        "x,station,2026-03-01T12:00:00Z,5",
        "4,station,2026-03-01T12:00:00Z,5",
    )
    answer = httpx.Response(200, headers={"content-type": "text/csv"}, text="\n".join(lines))
    client = SteveClient(STEVE, transport=httpx.MockTransport(lambda request: answer))
    assert [stop.transaction_id for stop in await stop_report(client, NOON, NOON)] == [4]
    await client.close()


async def test_ids_that_do_not_exist_are_simply_missing_from_the_answer(any_steve: Site) -> None:
    site = any_steve
    transaction = await site.charge()
    id_lists = (await probe(site.client)).id_lists
    found = await transactions_by_id(site.client, [transaction, 77, 78], id_lists=id_lists)
    assert found.ids() == {transaction}


@pytest.mark.parametrize(
    "broken",
    [
        {"startTimestamp": None},
        {"id": -1},
        {"id": 2**63},
        {"connectorId": 2**31},
        {"ocppIdTag": "A\x00B"},
        {"startTimestamp": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_a_row_that_no_database_could_keep_is_unreadable_and_not_dropped(broken: dict[str, object]) -> None:
    row = {"id": 5, "chargeBoxId": "CP-1", "connectorId": 1, "ocppIdTag": "A", "startTimestamp": "2026-01-01T00:00:00Z"}
    assert SteveTransactions.read([row]).readable[0].start_timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    found = SteveTransactions.read([row | broken])
    assert (len(found), found.readable) == (1, [])
    assert isinstance(SteveTransaction.read(row), SteveTransaction)
