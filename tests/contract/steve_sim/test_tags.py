"""``/ocppTags`` with its traps."""

import httpx

from polaris_sim.clock import SimClock
from polaris_sim.steve import SteveSimulator


async def test_a_new_tag_has_defaults_and_shows_its_nulls(rest: httpx.AsyncClient) -> None:
    response = await rest.post("/ocppTags", json={"idTag": "NEW", "unknownField": 1})

    assert response.status_code == 201
    assert response.json() == {
        "ocppTagPk": 3,
        "idTag": "NEW",
        "userPk": None,
        "parentOcppTagPk": None,
        "parentIdTag": None,
        "inTransaction": False,
        "blocked": False,
        "expiryDate": None,
        "maxActiveTransactionCount": 1,
        "activeTransactionCount": 0,
        "note": None,
    }


async def test_a_duplicate_and_an_unknown_parent_are_the_same_422(rest: httpx.AsyncClient) -> None:
    duplicate = await rest.post("/ocppTags", json={"idTag": "tag-1"})
    orphan = await rest.post("/ocppTags", json={"idTag": "CHILD", "parentIdTag": "NOBODY"})

    assert (duplicate.status_code, orphan.status_code) == (422, 422)
    assert "exists already" in orphan.json()["message"]


async def test_validation_failures_are_a_400_that_does_not_say_why(rest: httpx.AsyncClient) -> None:
    for body in (
        {},
        {"idTag": "with space"},
        {"idTag": "T" * 21},
        {"idTag": "OLD", "expiryDate": "2020-01-01T00:00:00Z"},
        {"idTag": "N", "maxActiveTransactionCount": "many"},
    ):
        response = await rest.post("/ocppTags", json=body)
        assert (response.status_code, response.json()["message"]) == (400, "Error understanding the request")


async def test_a_put_that_leaves_fields_out_unblocks_the_tag_and_clears_the_rest(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    simulator.add_tag("PARENT")
    simulator.add_tag("TAG-2", max_active_transaction_count=0, parent_id_tag="PARENT", note="lost")

    body = (await rest.put("/ocppTags/2", json={"idTag": "IGNORED"})).json()

    assert (body["idTag"], body["blocked"], body["maxActiveTransactionCount"]) == ("TAG-2", False, 1)
    assert (body["note"], body["parentIdTag"]) == (None, None)


async def test_a_put_with_an_unknown_parent_is_a_500_and_of_an_unknown_tag_a_404(rest: httpx.AsyncClient) -> None:
    assert (await rest.put("/ocppTags/2", json={"idTag": "TAG-2", "parentIdTag": "NOBODY"})).status_code == 500
    assert (await rest.put("/ocppTags/99", json={"idTag": "X"})).status_code == 404
    assert (await rest.get("/ocppTags/abc")).status_code == 400


async def test_a_put_that_sends_back_a_past_expiry_is_a_400(
    rest: httpx.AsyncClient, simulator: SteveSimulator, clock: SimClock
) -> None:
    await rest.put("/ocppTags/2", json={"idTag": "TAG-2", "expiryDate": "2026-08-21T12:00:00+02:30"})
    assert (await rest.get("/ocppTags/2")).json()["expiryDate"] is None
    expiry = "2026-08-21T11:00:00.000Z"
    assert (await rest.put("/ocppTags/2", json={"idTag": "TAG-2", "expiryDate": expiry})).status_code == 200
    clock.advance(7200)

    tag = (await rest.get("/ocppTags?expired=TRUE")).json()[0]

    assert tag["expiryDate"] == expiry
    assert (await rest.put("/ocppTags/2", json=tag)).status_code == 400
    assert await simulator.authorize("CB-1", "TAG-2") == "Expired"


async def test_lookups_ignore_case_but_answer_with_the_stored_case(rest: httpx.AsyncClient) -> None:
    tags = (await rest.get("/ocppTags", params={"idTag": "tag-1"})).json()

    assert [tag["idTag"] for tag in tags] == ["TAG-1"]


async def test_the_filters_on_tags(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    simulator.add_tag("BLOCKED", max_active_transaction_count=0, parent_id_tag="TAG-1")
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    async def found(**params: str) -> list[str]:
        return [tag["idTag"] for tag in (await rest.get("/ocppTags", params=params)).json()]

    assert await found(blocked="TRUE") == ["BLOCKED"]
    assert await found(inTransaction="TRUE") == ["TAG-1"]
    assert await found(parentIdTag="TAG-1") == ["BLOCKED"]
    assert await found(note="SPARE") == ["TAG-2"]
    assert await found(userId="9") == await found(userFilter="OnlyTagsWithUser") == ["TAG-1"]
    assert await found(ocppTagPk=" 2 ", idTag="") == ["TAG-2"]
    assert (await rest.get("/ocppTags?blocked=true")).status_code == 400


async def test_deleting_a_tag_deletes_its_transactions_and_ids_are_never_reused(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    deleted = await rest.delete("/ocppTags/1")
    again = await rest.post("/ocppTags", json={"idTag": "TAG-1"})
    started = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    assert (deleted.status_code, deleted.json()["idTag"]) == (200, "TAG-1")
    assert (again.json()["ocppTagPk"], started.transaction_id) == (3, 2)
    assert (await rest.get("/transactions/1")).status_code == 404
    assert [row["id"] for row in (await rest.get("/transactions?type=ACTIVE")).json()] == [2]


async def test_deleting_a_parent_is_a_500(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    simulator.add_tag("CHILD", parent_id_tag="TAG-1")

    assert (await rest.delete("/ocppTags/1")).status_code == 500
    assert (await rest.get("/ocppTags/1")).json()["idTag"] == "TAG-1"
