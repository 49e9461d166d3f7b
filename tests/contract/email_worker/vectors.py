"""The protocol of the e-mail Worker as a table of requests and answers.

``python -m tests.contract.email_worker.vectors`` writes it as ``vectors.json``. The simulator's tests here and the
Worker's own (``deploy/email-worker``) both run it, so that the two cannot drift apart.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

FILE = Path(__file__).with_name("vectors.json")
NOW_MS = 1_787_306_400_000
SECRET_A, SECRET_B, SECRET_X = "a" * 32, "the other secret, 32 characters!", "x" * 32
SENDERS = ("noreply@example.com", "admin-noreply@example.com")
LONGEST_BODY = 256 * 1024
WINDOW_MS = 300_000


@dataclass(frozen=True)
class Step:
    """One request and its answer."""

    body: str
    signature: str | None
    status: int
    error: str | None = None
    """None: the answer's body does not matter."""
    at: int = 0
    """Seconds after ``now``."""
    method: str = "POST"
    path: str = "/send"
    padding: int = 0
    """So many spaces follow the body; the signature covers them."""


Case = tuple[str, list[Step], int]
"""Its name, its requests, and how many mails are sent in the end."""

_nonces = count(1)


def mail(**fields: object) -> dict[str, object]:
    """A valid mail with a nonce of its own; ``fields`` change it, and None removes."""
    nonce = hashlib.sha256(str(next(_nonces)).encode()).hexdigest()[:22]
    whole = {
        "ts": NOW_MS,
        "nonce": nonce,
        "to": "ada@example.org",
        "subject": "Grüße, 24,318 kWh",
        "html": "<p>Hällo & welcome</p>",
        "text": "Hällo\r\nand welcome\r\n",
        "category": "session-summary",
        "from": "Polaris <noreply@example.com>",
        "replyTo": "support@example.com",
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def sign(body: str, secret: str = SECRET_A) -> str:
    """As the protocol says, by means of its own."""
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()


def raw(body: str, status: int, error: str | None = None, *, secret: str = SECRET_A) -> Step:
    """Exactly this body, signed."""
    return Step(body, sign(body, secret), status, error)


def post(status: int, error: str | None = None, *, secret: str = SECRET_A, at: int = 0, **fields: object) -> Step:
    """A mail, signed; sent ``at`` seconds after now and stamped with that time unless ``fields`` say otherwise."""
    return changed({"ts": NOW_MS + at * 1000} | fields, status, error, secret=secret, at=at)


def changed(
    fields: dict[str, object], status: int, error: str | None = None, *, secret: str = SECRET_A, at: int = 0
) -> Step:
    """As ``post``, also for fields that are words of Python."""
    return replace(raw(json.dumps(mail(**fields), ensure_ascii=False), status, error, secret=secret), at=at)


def _signatures() -> Iterator[Case]:
    yield "secret A signs", [post(200)], 1
    yield "secret B signs while it replaces A", [post(200, secret=SECRET_B)], 1
    yield "another secret does not", [post(401, "unauthorized", secret=SECRET_X)], 0
    good = post(401, "unauthorized")
    assert good.signature is not None
    wrong = {
        "no signature": None,
        "upper-case hex": good.signature.upper(),
        "a signature cut short": good.signature[:-2],
        "an odd number of digits": good.signature[:-1],
        "no hex": "z" * 64,
        "a prefix before it": f"sha256={good.signature}",
        "the empty signature": "",
    }
    for name, signature in wrong.items():
        yield f"{name} is refused", [replace(good, signature=signature)], 0
    yield "the signature covers every byte", [replace(good, body=f"{good.body} ")], 0
    yield (
        "a refused signature uses no nonce up",
        [replace(good, signature=None), replace(good, status=200, error=None)],
        1,
    )
    pretty = json.dumps(mail(), indent=2)
    yield "the bytes count, not their meaning", [raw(f" \n{pretty}\n", 200)], 1


def _bodies() -> Iterator[Case]:
    unreadable = {
        "no JSON": "to=ada",
        "an empty body": "",
        "half of it": '{"ts": 1',
        "a number that JSON has not": '{"ts": NaN}',
    }
    for name, body in unreadable.items():
        yield f"{name} is refused", [raw(body, 400, "invalid_json")], 0
    yield "what is unsigned is not even read", [replace(raw("to=ada", 401, "unauthorized"), signature=None)], 0
    for name, body in {"a list": "[]", "a text": '"mail"', "null": "null", "an empty object": "{}"}.items():
        yield f"{name} is refused as a mail", [raw(body, 400, "invalid_body")], 0
    for name in ("ts", "nonce", "to", "subject", "html", "text", "category", "from"):
        yield f"without {name} it is refused", [changed({name: None}, 400, "invalid_body")], 0
        yield f"with a list as {name} it is refused", [changed({name: ["x"]}, 400, "invalid_body")], 0
    refused: dict[str, dict[str, object]] = {
        "a time as text": {"ts": str(NOW_MS)},
        "a fraction of a millisecond": {"ts": NOW_MS + 0.5},
        "no address": {"to": "nobody"},
        "two recipients": {"to": "ada@example.org, eve@example.org"},
        "a name before the recipient": {"to": "Ada <ada@example.org>"},
        "no subject": {"subject": ""},
        "a category with spaces": {"category": "session summary"},
        "a nonce with a slash": {"nonce": "0123456789abcdef012/45"},
        "headers that are a list": {"headers": ["X-A: b"]},
        "a header that is no text": {"headers": {"X-A": 1}},
        "a header's name with a colon": {"headers": {"X-A:": "b"}},
    }
    for line_end in ("\r\n", "\n", "\r", "\x00", "\x85", "\u2028"):
        inject = f"x{line_end}Bcc: eve@example.org"
        for field, value in (
            ("to", f"ada@example.org{line_end}Bcc:eve@example.org"),
            ("subject", inject),
            ("from", f"Polaris{line_end}Bcc: eve@example.org <noreply@example.com>"),
            ("replyTo", f"support@example.com{line_end}Bcc: eve@example.org"),
            ("category", inject),
        ):
            refused[f"{field} with {line_end!r}"] = {field: value}
        refused[f"a header with {line_end!r}"] = {"headers": {"X-A": inject}}
    for name, fields in refused.items():
        yield f"{name} is refused", [changed(fields, 400, "invalid_body")], 0
    yield "an answer address is not needed", [post(200, replyTo=None)], 1
    yield "headers may come along", [post(200, headers={"X-Polaris": "1"})], 1
    big = f"{post(413, 'body_too_large').body}{' ' * LONGEST_BODY}"
    small = replace(raw(big, 413, "body_too_large"), body=big.rstrip(" "), padding=LONGEST_BODY)
    yield "a body of more than 256 KiB is refused", [small], 0


def _times_and_nonces() -> Iterator[Case]:
    for off in (-WINDOW_MS, WINDOW_MS):
        further = off + (1 if off > 0 else -1)
        yield f"{off} ms off is in time", [post(200, ts=NOW_MS + off)], 1
        yield f"{further} ms off is not", [post(401, "stale_timestamp", ts=NOW_MS + further)], 0
    first = post(200)
    yield "the same again is refused", [first, replace(first, status=409, error="nonce_replayed", at=1)], 1
    yield "much later it is stale", [first, replace(first, status=401, error="stale_timestamp", at=301)], 1
    yield (
        "from the future it is refused for longer",
        [
            early := post(200, ts=NOW_MS + WINDOW_MS),
            replace(early, status=409, error="nonce_replayed", at=599),
        ],
        1,
    )
    nonce = "AAAAAAAAAAAAAAAAAAAAAA"
    yield (
        "a nonce belongs to no body",
        [
            post(200, nonce=nonce),
            post(409, "nonce_replayed", nonce=nonce, subject="Another", secret=SECRET_B),
        ],
        1,
    )
    yield (
        "a stale mail uses no nonce up",
        [
            post(401, "stale_timestamp", nonce=nonce, ts=NOW_MS - 600_000),
            post(200, nonce=nonce),
        ],
        1,
    )


def _senders() -> Iterator[Case]:
    allowed = ("noreply@example.com", "Polaris <admin-noreply@example.com>", '"Polaris, Inc." <NoReply@Example.com>')
    for sender in allowed:
        yield f"{sender} may send", [changed({"from": sender}, 200)], 1
    strangers = ("eve@example.com", "noreply@example.com.evil.test", "xnoreply@example.com", "noreply@example.net")
    for sender in (*strangers, "noreply@example.com <eve@example.com>"):
        yield f"{sender} may not", [changed({"from": sender}, 403, "sender_not_allowed")], 0
    for sender in ("Polaris", "noreply@example.com, eve@example.com", "<noreply@example.com> <eve@example.com>", "<>"):
        yield f"{sender} is no sender", [changed({"from": sender}, 400, "invalid_body")], 0


def _limits() -> Iterator[Case]:
    five = [post(200, at=at) for at in range(5)]
    full = "rate_limited"
    yield "the sixth mail of a category has to wait", [*five, post(429, full, at=5)], 5
    yield "another category has not", [*five, post(200, at=5, category="magic-link")], 6
    yield "another recipient has not", [*five, post(200, at=5, to="eve@example.org")], 6
    yield "capitals make no other recipient", [*five, post(429, full, at=5, to="ADA@Example.org")], 5
    yield "after ten minutes there is room again", [*five, post(429, full, at=590), post(200, at=601)], 6
    strangers = [changed({"from": "eve@example.com"}, 403, "sender_not_allowed") for _ in range(5)]
    yield "what was not sent does not count", [*strangers, post(200)], 1


def _routes() -> Iterator[Case]:
    good = post(200)
    for method in ("PUT", "DELETE", "PATCH"):
        yield f"{method} is no way to send", [replace(good, method=method, status=405)], 0
    yield "nor is GET", [Step("", None, 405, method="GET")], 0
    for path in ("/send/x", "/sent"):
        yield f"nothing is at {path}", [replace(good, path=path, status=404)], 0


def table() -> dict[str, object]:
    """As JSON."""
    global _nonces  # noqa: PLW0603 - the table is the same each time it is made
    _nonces = count(1)
    groups = (_signatures(), _bodies(), _times_and_nonces(), _senders(), _limits(), _routes())
    cases = [case for group in groups for case in group]
    return {
        "now": NOW_MS,
        "secretA": SECRET_A,
        "secretB": SECRET_B,
        "allowedSenders": list(SENDERS),
        "cases": [
            {"name": name, "steps": [_compact(step) for step in steps], "sent": sent} for name, steps, sent in cases
        ],
    }


def text() -> str:
    """What ``vectors.json`` holds."""
    return json.dumps(table(), indent=1) + "\n"


def _compact(step: Step) -> dict[str, object]:
    left_out = {"at": 0, "method": "POST", "path": "/send", "padding": 0}
    return {name: value for name, value in asdict(step).items() if (name, value) not in left_out.items()}


if __name__ == "__main__":
    FILE.write_text(text())
