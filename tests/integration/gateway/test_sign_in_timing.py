"""How long an answer takes tells nobody whether an address is known.

Known and unknown addresses are asked about in turn, so that whatever slows the machine slows both. What a busy machine
adds comes on top, now and then: the quicker half tells how long it really takes. Looking up who gets a mail, or hashing
for known addresses only, shows there as a difference beyond the bound.
"""

import statistics
import time
from collections.abc import Sequence

import pytest
from argon2 import PasswordHasher
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld

from polaris_common.identity import passwords
from polaris_common.models import Role

ROUNDS = 60


@pytest.fixture(autouse=True)
def _passwords_that_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash takes most of a sign-in's time, as in production, so that one that is left out cannot hide."""
    dear = PasswordHasher(time_cost=2, memory_cost=32_768, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", dear)
    monkeypatch.setattr(passwords, "_NOBODY", dear.hash("the password of nobody"))


@pytest.fixture(autouse=True)
def _no_rate_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_SCALE", "1000")


async def _seconds(world: GatewayWorld, path: str, email: str) -> float:
    browser, origin = (world.admin, ADMIN_URL) if path.startswith("/api/admin") else (world.customer, CUSTOMER_URL)
    began = time.perf_counter()
    await browser.post(path, json={"email": email, "password": "wrong password"}, headers={"origin": origin})
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("path", "rounds"),
    [
        ("/api/auth/magic-link/preflight", ROUNDS),
        ("/api/auth/sign-in/magic-link", ROUNDS),
        ("/api/admin/forgot-password", ROUNDS),
        ("/api/auth/sign-in/email", 16),
    ],
)
async def test_known_and_unknown_addresses_take_the_same_time(world: GatewayWorld, path: str, rounds: int) -> None:
    # Of each address one question only: a second one may have to wait for having asked before.
    role = Role.ADMIN if path.startswith("/api/admin") else Role.CUSTOMER
    with_password = path.endswith("/email")
    for number in range(rounds if with_password else 1):
        await world.user(role, email=f"known-{number}@example.org", password=with_password)
    await _seconds(world, path, "first@example.org")

    known, unknown = [], []
    for number in range(rounds):
        name = f"known-{number if with_password else 0}@example.org"
        known.append(await _seconds(world, path, name))
        unknown.append(await _seconds(world, path, f"other-{number}@example.org"))

    in_known, in_unknown = _undisturbed(known), _undisturbed(unknown)
    assert abs(in_known - in_unknown) < 0.25 * max(in_known, in_unknown), f"{in_known:.4f} s, {in_unknown:.4f} s"


def _undisturbed(seconds: Sequence[float]) -> float:
    """The median of the quicker half."""
    return statistics.median(sorted(seconds)[: len(seconds) // 2])
