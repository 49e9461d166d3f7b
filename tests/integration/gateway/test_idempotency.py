"""A mutation that is sent again is not done again."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import ADMIN_URL, GatewayWorld

from gateway.flags import service
from polaris_common.models import Role

PATH = "/api/admin/feature-flags"
KEY = "6d0c6f0e-0d7f-4a2e-8f8e-0d7f4a2e8f8e"


async def _operator(world: GatewayWorld, email: str = "op@example.org") -> None:
    world.admin.cookies.clear()
    await world.user(Role.ADMIN, email=email)
    assert (await world.sign_in(world.admin, email)).status_code == 200


async def _set(world: GatewayWorld, *, value: Any = False, key: str | None = KEY, path: str = PATH) -> httpx.Response:
    headers = {"origin": ADMIN_URL} | ({"idempotency-key": key} if key is not None else {})
    body = {"flags": [{"key": "customer.connectivityCheck", "value": value}]}
    return await world.admin.patch(path, json=body, headers=headers)


async def _times_done(world: GatewayWorld) -> int:
    async with world.database.unit_of_work() as uow:
        query = text("SELECT count(*) FROM auth_audit WHERE event = 'global.feature_flags.changed'")
        return int((await uow.execute(query)).scalar_one())


async def _execute(world: GatewayWorld, statement: str) -> None:
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(statement))


async def test_a_repeat_gets_the_first_answer_and_does_nothing(world: GatewayWorld) -> None:
    await _operator(world)

    first, second = await _set(world), await _set(world)

    assert (first.status_code, second.status_code, second.json()) == (200, 200, first.json())
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert await _times_done(world) == 1


async def test_without_a_key_everything_is_done_each_time(world: GatewayWorld) -> None:
    await _operator(world)

    for _ in range(2):
        assert (await _set(world, key=None)).status_code == 200

    assert await _times_done(world) == 2


async def test_a_key_belongs_to_one_body(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world, value=False)

    other = await _set(world, value=True)

    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_one_person(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world)
    await _operator(world, "second@example.org")

    assert "idempotency-replayed" not in (await _set(world)).headers
    assert await _times_done(world) == 2


async def test_a_key_belongs_to_one_route_and_one_thing(world: GatewayWorld) -> None:
    await _operator(world)
    people = [await world.user(email=f"{name}@example.org") for name in ("ann", "bob")]
    first = await _set(world, path=f"/api/admin/users/{people[0]}/feature-flags")

    other_route = await _set(world)
    other_person = await _set(world, path=f"/api/admin/users/{people[1]}/feature-flags")

    assert (first.status_code, other_route.status_code) == (200, 200)
    assert (other_person.status_code, other_person.json()["error"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(("length", "status"), [(200, 200), (201, 400)])
async def test_a_key_has_at_most_200_characters(world: GatewayWorld, length: int, status: int) -> None:
    await _operator(world)

    answer = await _set(world, key="k" * length)

    assert answer.status_code == status
    assert status == 200 or answer.json()["error"] == "idempotency_key_too_long"


async def test_of_many_at_once_one_is_done_and_nobody_gets_a_wrong_answer(world: GatewayWorld) -> None:
    await _operator(world)

    answers = await asyncio.gather(*(_set(world) for _ in range(12)))

    assert await _times_done(world) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {a.json()["error"] for a in answers if a.status_code == 409} <= {"idempotency_in_progress"}


async def test_while_the_first_runs_a_repeat_is_told_to_wait(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _operator(world)
    entered, go_on = asyncio.Event(), asyncio.Event()
    real = service.FlagWriter.for_everybody

    async def slow(self: service.FlagWriter, changes: Any) -> list[str]:
        entered.set()
        await go_on.wait()
        return await real(self, changes)

    monkeypatch.setattr(service.FlagWriter, "for_everybody", slow)
    first = asyncio.create_task(_set(world))
    await entered.wait()

    repeat = await _set(world)
    go_on.set()

    assert (repeat.status_code, repeat.json()["error"], repeat.headers["retry-after"]) == (
        409,
        "idempotency_in_progress",
        "1",
    )
    assert (await first).status_code == 200


async def test_an_error_of_ours_is_not_repeated(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await _operator(world)

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(service.FlagWriter, "for_everybody", fail)
        failed = await _set(world)

    assert (failed.status_code, (await _set(world)).status_code) == (500, 200)


async def test_a_refusal_that_depends_on_nothing_but_the_request_is_repeated(world: GatewayWorld) -> None:
    await _operator(world)

    first, second = await _set(world, value="maybe"), await _set(world, value="maybe")

    assert first.status_code == second.status_code == 400
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"


async def test_a_process_that_died_before_doing_anything_blocks_for_its_lease_only(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world)
    as_left = "status = NULL, answer = NULL, carried_out = false, lease_until = now() + interval '60 s'"
    await _execute(world, f"UPDATE idempotency_keys SET {as_left}")  # noqa: S608
    waiting = await _set(world)
    await _execute(world, "UPDATE idempotency_keys SET lease_until = now() - interval '1 s'")

    assert (waiting.status_code, waiting.json()["error"]) == (409, "idempotency_in_progress")
    assert (await _set(world)).status_code == 200


async def test_what_a_dying_process_has_done_is_never_done_again(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world)
    await _execute(
        world, "UPDATE idempotency_keys SET status = NULL, answer = NULL, lease_until = now() - interval '1 s'"
    )

    repeat = await _set(world)

    assert (repeat.status_code, repeat.json()["error"]) == (409, "idempotency_answer_not_kept")
    assert await _times_done(world) == 1


async def test_who_lost_the_lease_cannot_commit_any_more(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await _operator(world)
    real = service.FlagWriter.for_everybody

    async def overtaken(self: service.FlagWriter, changes: Any) -> list[str]:
        await _execute(world, "UPDATE idempotency_keys SET attempt = attempt + 1")
        return await real(self, changes)

    monkeypatch.setattr(service.FlagWriter, "for_everybody", overtaken)

    assert (await _set(world)).status_code == 409
    assert await _times_done(world) == 0


async def test_a_day_later_the_key_is_free_again(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world)
    await _execute(world, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")

    assert (await _set(world, value=True)).status_code == 200
    assert await _times_done(world) == 2


async def test_neither_the_key_nor_a_cookie_is_stored(world: GatewayWorld) -> None:
    await _operator(world)
    await _set(world)

    async with world.database.unit_of_work() as uow:
        row = str((await uow.execute(text("SELECT * FROM idempotency_keys"))).one())

    assert KEY not in row
    assert str(next(iter(world.admin.cookies.jar)).value) not in row
