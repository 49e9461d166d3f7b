"""``polaris mail``: what mails say, whether they leave, and those that did not."""

import asyncio
import socket
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import text
from typer.testing import CliRunner, Result

from polaris_cli.main import app
from polaris_common.db import Database
from polaris_common.email.queue import queue_mail
from polaris_common.email.templates import MAILS, AccountReactivated
from polaris_sim.email_worker import EmailWorkerConfig, EmailWorkerSimulator, create_app

SECRET = "a-secret-of-the-worker-with-32-characters"


async def _polaris(*arguments: str) -> Result:
    """As typed into a shell; the command has an event loop of its own."""
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["mail", *arguments]))


async def _give_up(database: Database) -> str:
    async with database.unit_of_work() as uow:
        await queue_mail(uow, AccountReactivated(), "ann@example.org")
        await uow.execute(text("UPDATE outgoing_mails SET dead_at = now(), attempts = 12, last_error = '550 5.1.1'"))
        return str(await uow.session.scalar(text("SELECT id FROM outgoing_mails")))


async def _waiting(database: Database) -> int:
    async with database.unit_of_work() as uow:
        fresh = text("SELECT count(*) FROM outgoing_mails WHERE dead_at IS NULL AND attempts = 0")
        return int((await uow.execute(fresh)).scalar_one())


async def test_what_was_given_up_is_listed_with_its_reason_and_tried_again_on_request(database: Database) -> None:
    mail_id = await _give_up(database)

    listed = (await _polaris("dead")).output
    retried = await _polaris("retry", mail_id)

    said = (mail_id, "ann@example.org", "550 5.1.1", "account-reactivated", "1 given up.")
    assert all(part in listed for part in said)
    assert (retried.exit_code, retried.output, await _waiting(database)) == (0, "1 will be tried again.\n", 1)
    assert (await _polaris("dead")).output == "0 given up.\n"


async def test_all_that_was_given_up_is_tried_again_at_once(database: Database) -> None:
    await _give_up(database)

    retried = await _polaris("retry", "--all")

    assert (retried.output, await _waiting(database)) == ("1 will be tried again.\n", 1)


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["--all", "6e1f7c8a-0000-4000-8000-000000000000"], 2), (["x"], 2)]
)
async def test_it_must_be_said_which(arguments: list[str], status: int) -> None:
    assert (await _polaris("retry", *arguments)).exit_code == status


async def test_a_mail_that_was_not_given_up_is_left_alone(database: Database) -> None:
    result = await _polaris("retry", "6e1f7c8a-0000-4000-8000-000000000000")

    assert result.exit_code == 3
    assert "not among the mails" in result.output


async def test_a_preview_holds_every_mail_as_html_and_text(tmp_path: Path) -> None:
    result = await _polaris("preview", "--locale", "de-AT", "--out", str(tmp_path / "mails"))

    assert result.exit_code == 0
    assert {file.name for file in (tmp_path / "mails").iterdir()} == {
        f"{name}.{suffix}" for name in MAILS for suffix in ("html", "txt")
    }
    assert "Ihr Ladevorgang" in (tmp_path / "mails" / "session_summary.html").read_text()
    assert b"\r\n" in (tmp_path / "mails" / "session_summary.txt").read_bytes()


async def test_one_mails_text_is_printed() -> None:
    result = await _polaris("preview", "card_lost")

    assert result.output.startswith("=== card_lost\nSubject: Card reported lost: Blue card\n")
    assert result.output.count("===") == 1
    assert (await _polaris("preview", "no_such_mail")).exit_code == 2


@pytest.fixture
def _hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_BASE_URL", "https://manage.example.com")
    monkeypatch.setenv("CUSTOMER_BASE_URL", "https://polaris.example.com")
    monkeypatch.setenv("COOKIE_DOMAIN", ".example.com")


@pytest.mark.usefixtures("_hosts")
@pytest.mark.parametrize(
    ("secret", "sender", "status", "said"),
    [
        (SECRET, "Polaris <noreply@example.com>", 0, "EmailWorker took the mail from Polaris <noreply@example.com>"),
        ("another-secret-that-the-worker-does-not-know", "noreply@example.com", 1, "401 unauthorized. CF_EMAIL_WORKER"),
        (SECRET, "somebody@example.com", 1, "403 sender_not_allowed. The Worker does not allow this sender"),
    ],
)
async def test_a_test_mail_says_what_became_of_it(
    secret: str, sender: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = EmailWorkerSimulator(EmailWorkerConfig(secret_a=SECRET))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(simulator), log_level="critical"))
        serving = asyncio.create_task(server.serve([listening]))
        monkeypatch.setenv("CF_EMAIL_WORKER_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("CF_EMAIL_WORKER_SECRET", secret)
        monkeypatch.setenv("EMAIL_FROM", sender)

        result = await _polaris("test", "--to", "olga@example.org", "--as-drivers")

        server.should_exit = True
        await serving
    assert (result.exit_code, said in result.output) == (status, True), result.output
    assert [mail.to for mail in simulator.mails] == ["olga@example.org"] * (status == 0)
    assert secret not in result.output


@pytest.mark.usefixtures("_hosts")
async def test_without_mail_a_test_says_what_to_set() -> None:
    result = await _polaris("test", "--to", "olga@example.org")

    assert result.exit_code == 2
    assert "CF_EMAIL_WORKER_URL" in result.output
