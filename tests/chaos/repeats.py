"""Everything that can happen to requests that are sent again with the same Idempotency-Key."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from polaris_common.http.idempotency import AnswerNotKept, KeyReused, StillRunning
from polaris_common.identity.audit import AuditEvent
from tests.chaos.gateway import OPERATORS, Portal
from tests.chaos.loop import LoopMachine
from tests.chaos.mortal import Ending, Lifeline

KEYS = ("first-key-of-the-caller", "second-key-of-the-caller")
VARIANTS = (0, 1)
"""Two requests that differ in what is in them."""
MOST_STEPS = 19
"""Some requests take a few more."""

EFFECTS = {
    "flags": AuditEvent.GLOBAL_FEATURE_FLAGS_CHANGED,
    "user_flags": AuditEvent.USER_FEATURE_FLAGS_CHANGED,
    "sign_out": AuditEvent.SESSION_REVOKED,
    "person": AuditEvent.USER_CREATED,
    "mail": AuditEvent.MAGIC_LINK_REQUESTED,
    "device": AuditEvent.DEVICE_REGISTERED,
}
"""What can be asked for, and what is on record once for each time that it is done."""
USED_UP = ("device",)
"""Its answer is secret and never kept; and what a dying process has done uses its code up."""
MADE = {
    "person": "SELECT count(*) FROM users",
    "mail": "SELECT count(*) FROM outgoing_mails",
    "device": "SELECT count(*) FROM devices",
}
"""Of these there must be as many more as are on record."""

_AUDIT = "SELECT user_agent, event FROM auth_audit WHERE user_agent LIKE 'sent %'"
_EVERY_ROW = tuple(f"SELECT * FROM {table}" for table in ("idempotency_keys", "auth_audit", "domain_events"))  # noqa: S608
_LATER = "UPDATE idempotency_keys SET lease_until = lease_until - d.by, created_at = created_at - d.by FROM (SELECT"
_MINUTES = _LATER + " interval '61 seconds' AS by) AS d"
_A_DAY = _LATER + " interval '25 hours' AS by) AS d"

_serial = itertools.count()

kinds = st.sampled_from(tuple(EFFECTS))
callers = st.sampled_from(OPERATORS)
keys = st.sampled_from((KEYS[0], *KEYS))
variants = st.sampled_from((0, 0, 0, 1))
short_lives = st.tuples(st.integers(0, MOST_STEPS), st.sampled_from(Ending))
lives = st.one_of(st.just((None, Ending.KILLED)), short_lives)
Life = tuple[int | None, Ending]
"""After how many steps it ends, and how."""
Request = tuple[str, str, Any]
"""Method, path and body."""


@dataclass
class Sent:
    """One request that was sent."""

    name: str
    """Its user agent, under which the audit has what it did."""
    variant: int
    cut_off: bool
    """It did not get to its end in peace."""
    answer: httpx.Response | None

    @property
    def replayed(self) -> bool:
        """The answer was kept from an earlier one."""
        return self.answer is not None and self.answer.headers.get("idempotency-replayed") == "true"

    @property
    def succeeded(self) -> bool:
        """It was told that it was done."""
        return self.answer is not None and self.answer.status_code < 300

    @property
    def error(self) -> str | None:
        """The code of a refusal."""
        return None if self.answer is None or self.answer.status_code < 400 else str(self.answer.json()["error"])


@dataclass
class Wish:
    """What one caller wants of one route under one key, until the key is forgotten."""

    kind: str
    caller: str
    key: str
    number: int = field(default_factory=lambda: next(_serial))
    sent: list[Sent] = field(default_factory=list)
    verifiers: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Code and verifier of a device, by variant."""

    async def request(self, portal: Portal, variant: int) -> Request:
        """Method, path and body: the same each time."""
        name, secret = f"{self.number}-{variant}", f"secret-of-{self.number}-{variant}-" + "x" * 40
        change = {"flags": [{"key": "customer.connectivityCheck", "value": bool(variant)}]}
        match self.kind:
            case "flags":
                return "PATCH", "/api/admin/feature-flags", change
            case "user_flags":
                return "PATCH", f"/api/admin/users/{portal.victims[variant]}/feature-flags", change
            case "sign_out":
                return "DELETE", f"/api/admin/user/{portal.victims[variant]}/sessions", None
            case "person":
                portal.secrets.add(secret)
                person = {"email": f"p{name}@example.org", "name": name, "role": "customer", "password": secret}
                return "POST", "/api/admin/user", person
            case "mail":
                return "POST", "/api/auth/magic-link/preflight", {"email": f"m{name}@example.org"}
        if variant not in self.verifiers:
            self.verifiers[variant] = await portal.code(secret), secret
            portal.secrets.update(self.verifiers[variant])
        code, verifier = self.verifiers[variant]
        return "POST", "/api/devices/register", _device(name, code, verifier)


class Repeats(LoopMachine):
    """See the module."""

    def __init__(self, portal: Portal, runner: asyncio.Runner) -> None:
        super().__init__(runner)
        self.portal = portal
        self.wishes: dict[tuple[str, str, str], Wish] = {}
        self.forgotten: list[Wish] = []
        self.run(portal.begin())
        self.made = {kind: self.run(portal.rows(query))[0][0] for kind, query in MADE.items()}

    @rule(kind=kinds, caller=callers, key=keys, variant=variants, life=lives)
    def somebody_asks(self, kind: str, caller: str, key: str, variant: int, life: Life) -> None:
        self.run(self._all_at_once(self._wish(kind, caller, key), [(variant, life)]))

    @rule(
        kind=kinds,
        caller=callers,
        key=keys,
        requests=st.lists(st.tuples(variants, lives), min_size=2, max_size=4),
    )
    def somebody_asks_several_times_at_once(
        self, kind: str, caller: str, key: str, requests: list[tuple[int, Life]]
    ) -> None:
        self.run(self._all_at_once(self._wish(kind, caller, key), requests))

    @rule(kind=kinds, caller=callers, key=keys, variant=variants, life=short_lives)
    def somebody_asks_again_after_a_while(self, kind: str, caller: str, key: str, variant: int, life: Life) -> None:
        wish = self._wish(kind, caller, key)
        self.run(self._all_at_once(wish, [(variant, life)]))
        self.run(self.portal.execute(_MINUTES))
        for _ in range(2):
            self.run(self._all_at_once(wish, [(variant, (None, Ending.KILLED))]))

    @rule(kind=kinds, caller=callers, life=lives)
    def somebody_asks_without_a_key(self, kind: str, caller: str, life: Life) -> None:
        """Nothing of it is kept."""
        self.run(self._all_at_once(Wish(kind, caller, ""), [(0, life)]))

    @rule()
    def minutes_pass(self) -> None:
        self.run(self.portal.execute(_MINUTES))

    @rule(swept=st.booleans())
    def a_day_passes(self, swept: bool) -> None:
        """Keys are forgotten, whether or not anybody has swept them out."""
        self.run(self.portal.execute(_A_DAY))
        if swept:
            self.run(self.portal.execute("DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'"))
        self.forgotten += self.wishes.values()
        self.wishes.clear()

    @invariant()
    def nothing_is_done_twice(self) -> None:
        done = self._done()
        for wish in (*self.wishes.values(), *self.forgotten):
            _look_at(wish, done)

    @invariant()
    def what_is_on_record_was_made(self) -> None:
        recorded = Counter(row.event for row in self.run(self.portal.rows(_AUDIT)))
        for kind, query in MADE.items():
            made = self.run(self.portal.rows(query))[0][0] - self.made[kind]
            assert made == recorded[EFFECTS[kind]], f"{made} of {kind} were made, {recorded[EFFECTS[kind]]} recorded"

    @invariant()
    def no_secret_is_in_any_row(self) -> None:
        for query in _EVERY_ROW:
            for row in self.run(self.portal.rows(query)):
                said = " ".join(each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in row)
                found = [secret for secret in (*self.portal.secrets, *KEYS) if secret in said]
                assert not found, f"{found} in {said}"

    def teardown(self) -> None:
        """Whoever asks for long enough gets what they want, once."""
        if self.broken:
            return
        for wish in self.wishes.values():
            self.run(self.portal.execute(_MINUTES))
            self._insist(wish)
        self.nothing_is_done_twice()
        self.no_secret_is_in_any_row()

    def _insist(self, wish: Wish) -> None:
        """Of two bodies the key belongs to the one that came first, done or not; which one is not known."""
        for variant in dict.fromkeys(each.variant for each in wish.sent):
            self.run(self._all_at_once(wish, [(variant, (None, Ending.KILLED))]))
            last = wish.sent[-1]
            if last.error != KeyReused.code:
                break
        done = self._done()
        assert sum(done[each.name] for each in wish.sent) == 1, f"not done: {wish}"
        assert last.succeeded or last.error == AnswerNotKept.code or wish.kind in USED_UP, f"{last} of {wish}"

    def _wish(self, kind: str, caller: str, key: str) -> Wish:
        """Whoever calls a public route is anyone."""
        caller = "anyone" if kind in ("mail", "device") else caller
        return self.wishes.setdefault((kind, caller, key), Wish(kind, caller, key))

    def _done(self) -> Counter[str]:
        """How often each request was carried out."""
        effects = set(EFFECTS.values())
        return Counter(row.user_agent for row in self.run(self.portal.rows(_AUDIT)) if row.event in effects)

    async def _all_at_once(self, wish: Wish, requests: list[tuple[int, Life]]) -> None:
        done = Counter(row.user_agent for row in await self.portal.rows(_AUDIT) if row.event == EFFECTS[wish.kind])
        before = next((each for each in wish.sent if done[each.name]), None)
        asked = [(await wish.request(self.portal, variant), variant, life) for variant, life in requests]
        sent = await asyncio.gather(*(self._send(wish, *each) for each in asked))
        wish.sent += sent
        if before is not None and wish.key:
            for each in sent:
                _answers_what_is_known(wish, before, each)

    async def _send(self, wish: Wish, request: Request, variant: int, life: Life) -> Sent:
        method, path, body = request
        name = f"sent {next(_serial)}"
        headers = {"user-agent": name} | ({"idempotency-key": wish.key} if wish.key else {})
        if wish.caller in self.portal.cookies:
            headers["cookie"] = self.portal.cookies[wish.caller]
        lifeline = Lifeline(left=life[0], ending=life[1])
        answer = await self.portal.send(method, path, headers=headers, body=body, lifeline=lifeline)
        if wish.kind == "device" and answer is not None and answer.status_code < 300:
            told = answer.json()
            self.portal.secrets.update((told["deviceToken"], told["deviceSecret"]))
        return Sent(name, variant, lifeline.reached, answer)


def _look_at(wish: Wish, done: Counter[str]) -> None:
    """What must hold of all that was sent, in whatever order it was served."""
    carried_out = [each for each in wish.sent if done[each.name]]
    assert sum(done[each.name] for each in wish.sent) <= 1, f"done twice: {wish}"
    replays = {(each.answer.status_code, each.answer.content) for each in wish.sent if each.replayed and each.answer}
    originals = {
        (each.answer.status_code, each.answer.content)
        for each in carried_out
        if each.answer is not None and each.succeeded
    }
    assert len(replays) <= 1, f"two answers were kept: {wish}"
    if originals:
        assert replays <= originals, f"another answer was kept: {wish}"
    for each in wish.sent:
        if each.succeeded and not each.replayed:
            assert done[each.name] == 1, f"told that it was done, and it was not: {each}"
        if each.error is not None and each.answer is not None and each.answer.status_code < 500:
            assert done[each.name] == 0, f"refused, and yet done: {each}"
        assert each.answer is None or each.answer.status_code < 500 or each.cut_off, f"an error of ours: {each}"
        if each.error == StillRunning.code and each.answer is not None:
            assert each.answer.headers["retry-after"] == "1"


def _answers_what_is_known(wish: Wish, before: Sent, each: Sent) -> None:
    """It was carried out before this was sent."""
    if each.answer is None or each.cut_off:
        return
    if each.variant != before.variant:
        assert each.error == KeyReused.code, f"{each.error} although the key belongs to another body: {wish}"
    elif before.succeeded and not before.cut_off and wish.kind not in USED_UP:
        assert each.replayed, f"{each.error}: {each} is no replay: {wish}"
    elif not each.replayed:
        known = {AnswerNotKept.code, StillRunning.code} | ({"invalid_code"} if wish.kind in USED_UP else set())
        assert each.error in known, f"{each.error} for what was done before: {wish}"


def _device(label: str, code: str, verifier: str) -> dict[str, Any]:
    return {
        "oneTimeCode": code,
        "codeVerifier": verifier,
        "label": label,
        "platform": "ios",
        "model": "iPhone17,1",
        "osVersion": "26",
        "appVersion": "1",
        "apnsEnvironment": "sandbox",
        "requestedCapabilities": ["scanner"],
    }
