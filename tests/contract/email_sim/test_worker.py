"""Which mails the Worker takes, and how it shows them."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.email_sim.conftest import Sender


async def test_a_signed_mail_is_kept(sender: Sender) -> None:
    response = await sender.send(sender.mail())

    assert (response.status_code, response.json()["ok"]) == (200, True)
    [mail] = await sender.stored()
    assert (mail["to"], mail["subject"], mail["html"], mail["text"]) == (
        "ada@example.com",
        "Sign in",
        "<p>Hello</p>",
        "Hello",
    )
    assert (mail["from"], mail["replyTo"]) == ("Polaris <noreply@example.com>", "support@example.com")


@pytest.mark.parametrize(("secret", "status"), [("a" * 32, 200), ("b" * 32, 200), ("c" * 32, 401)])
async def test_either_secret_signs_while_one_replaces_the_other(sender: Sender, secret: str, status: int) -> None:
    assert (await sender.send(sender.mail(), secret=secret)).status_code == status


@pytest.mark.parametrize("change", ["missing", "upper case", "other body"])
async def test_a_signature_must_be_lower_case_hex_over_the_exact_body(sender: Sender, change: str) -> None:
    body = b'{"to": "ada@example.com"}'
    signature = hmac.new(b"a" * 32, body, hashlib.sha256).hexdigest()
    headers = {"x-polaris-sig": signature.upper() if change == "upper case" else signature}

    response = await sender.http.post(
        "/send",
        content=body + (b" " if change == "other body" else b""),
        headers={} if change == "missing" else headers,
    )

    assert (response.status_code, response.json()) == (401, {"error": "unauthorized"})


@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-299, 200), (299, 200), (301, 401)])
async def test_a_mail_may_be_five_minutes_off(sender: Sender, seconds: int, status: int) -> None:
    timestamp = int(sender.clock.now().timestamp() * 1000) + seconds * 1000

    assert (await sender.send(sender.mail(ts=timestamp))).status_code == status


async def test_a_replay_is_refused(sender: Sender) -> None:
    mail = sender.mail()
    await sender.send(mail)

    replayed = await sender.send(mail)

    assert (replayed.status_code, replayed.json()) == (409, {"error": "nonce_replayed"})
    assert len(await sender.stored()) == 1


@pytest.mark.parametrize("address", ["evil@example.com", "evil+noreply@example.com", "noreply@ <evil@example.com>"])
async def test_only_known_senders_may_send(sender: Sender, address: str) -> None:
    response = await sender.send(sender.mail(**{"from": address}))

    assert (response.status_code, response.json()) == (403, {"error": "sender_not_allowed"})


async def test_a_recipient_gets_five_mails_of_a_category_in_ten_minutes(sender: Sender) -> None:
    answers = [(await sender.send(sender.mail())).status_code for _ in range(6)]
    other = await sender.send(sender.mail(category="session-summary"))
    sender.clock.advance(601)
    later = await sender.send(sender.mail())

    assert answers == [200] * 5 + [429]
    assert (other.status_code, later.status_code) == (200, 200)


@pytest.mark.parametrize("fields", [{"subject": None}, {"to": "nobody"}, {"ts": "now"}])
async def test_a_malformed_mail_is_refused(sender: Sender, fields: dict[str, object]) -> None:
    response = await sender.send(sender.mail(**fields))

    assert (response.status_code, response.json()) == (400, {"error": "invalid_body"})


async def test_sending_is_a_post(sender: Sender) -> None:
    assert (await sender.http.get("/send")).status_code == 405


async def test_the_mailbox_lists_the_newest_mail_first(sender: Sender) -> None:
    empty = (await sender.http.get("/")).text
    await sender.send(sender.mail(subject="First"))
    await sender.send(sender.mail(subject="<Second>", category="session-summary"))

    page = (await sender.http.get("/")).text

    assert "No mail yet" in empty
    assert page.index("&lt;Second&gt;") < page.index("First")
    assert [mail["subject"] for mail in await sender.stored()] == ["<Second>", "First"]
    assert [mail["subject"] for mail in await sender.stored("?category=magic-link")] == ["First"]


async def test_a_mail_is_shown_in_a_frame_that_runs_nothing(sender: Sender) -> None:
    await sender.send(sender.mail(html='<script>alert("x")</script>', text="<plain>"))

    page = (await sender.http.get("/mails/1")).text

    assert 'sandbox="allow-popups"' in page
    assert "<script>" not in page
    assert "&lt;plain&gt;" in page
    assert (await sender.http.get("/mails/2")).status_code == 404


async def test_faults_disturb_sending_but_not_the_control_api(sender: Sender) -> None:
    rule = {"fault": "error_after", "path": "/send", "times": 1, "status": 502}
    await sender.http.put("/_sim/faults", json={"rules": [rule]})

    response = await sender.send(sender.mail())

    assert response.status_code == 502
    assert len(await sender.stored()) == 1
    assert (await sender.http.get("/_sim/faults")).json()["injected"] == {"error_after": 1}
