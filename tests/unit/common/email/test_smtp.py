"""Mails by SMTP, to a server in this process: what is sent, how the way is encrypted, which refusal is final."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from polaris_common.email import smtp
from polaris_common.email.settings import SmtpSecurity, SmtpServer
from polaris_common.email.smtp import SmtpMail
from polaris_common.email.templates import MailText
from polaris_common.email.transport import SENT, Delivery, Fate, Mail

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

PASSWORD = "a password with ümlaut"
MAIL = Mail(
    id=UUID("6e1f7c8a-0000-4000-8000-000000000000"),
    to="ann@example.org",
    sender="Polärs <noreply@polaris.example.com>",
    reply_to="support@example.com",
    category="magic-link",
    text=MailText(subject="Grüße", html="<p>Hällo</p>", text="Hällo\r\n.\r\nbye\r\n"),
)


class Post:
    """What an SMTP server does with mails: keeps them, or answers as it was told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.to_recipient = self.to_data = "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server: SMTP, _: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=default))
        return self.to_data


def _login(_: SMTP, __: Session, ___: Envelope, mechanism: str, given: object) -> AuthResult:
    known = isinstance(given, LoginPassword) and given.password == PASSWORD.encode()
    return AuthResult(success=known, handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for this machine, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + made.public_bytes(pem)
    )
    return file


@asynccontextmanager
async def _listening(make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def _post(post: Post, certificate: Path, security: SmtpSecurity) -> AsyncIterator[SmtpMail]:
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(certificate)
    starttls = security is SmtpSecurity.STARTTLS

    def make() -> SMTP:
        return SMTP(
            post,
            hostname="test",
            tls_context=offered if starttls else None,
            require_starttls=starttls,
            authenticator=_login,
            auth_require_tls=False,
            auth_required=security is not SmtpSecurity.NONE,
        )

    async with _listening(make, offered if security is SmtpSecurity.TLS else None) as port:
        server = SmtpServer("127.0.0.1", port, security)
        if security is not SmtpSecurity.NONE:
            server = replace(server, username="polaris", password=SecretStr(PASSWORD))
        yield SmtpMail(server, tls_context=ssl.create_default_context(cafile=certificate))


@pytest.mark.parametrize("security", list(SmtpSecurity))
async def test_a_mail_arrives_with_both_versions(certificate: Path, security: SmtpSecurity) -> None:
    post = Post()
    async with _post(post, certificate, security) as transport:
        assert await transport.send(MAIL) == SENT

    [mail] = post.mails
    assert post.encrypted == [security is not SmtpSecurity.NONE]
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content().splitlines() == ["Hällo", ".", "bye"]
    assert "<p>Hällo</p>" in html.get_content()
    assert (mail["Subject"], mail["To"], mail["Reply-To"]) == ("Grüße", "ann@example.org", "support@example.com")
    assert mail["From"] == "Polärs <noreply@polaris.example.com>"
    assert mail["Message-ID"] == "<6e1f7c8a-0000-4000-8000-000000000000@polaris.example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("answer", "delivery"),
    [
        ("550 5.1.1 no mailbox ann@example.org", Delivery(Fate.NEVER, "550 5.1.1")),
        ("554 no", Delivery(Fate.NEVER, "554")),
        ("450 4.2.0 greylisted, ann@example.org", Delivery(Fate.LATER, "450 4.2.0")),
        ("421 closing", Delivery(Fate.LATER, "421")),
    ],
)
@pytest.mark.parametrize("step", ["to_recipient", "to_data"])
async def test_what_is_refused_for_good_is_not_tried_again(
    certificate: Path, step: str, answer: str, delivery: Delivery
) -> None:
    post = Post()
    setattr(post, step, answer)
    async with _post(post, certificate, SmtpSecurity.NONE) as transport:
        assert await transport.send(MAIL) == delivery


async def test_a_wrong_password_can_be_put_right(certificate: Path) -> None:
    async with _post(Post(), certificate, SmtpSecurity.STARTTLS) as transport:
        wrong = replace(transport._server, password=SecretStr("wrong"))
        refused = await SmtpMail(wrong, tls_context=transport._tls_context).send(MAIL)

    assert refused == Delivery(Fate.LATER, "535 authentication")


@pytest.mark.parametrize("security", [SmtpSecurity.STARTTLS, SmtpSecurity.TLS])
async def test_a_certificate_that_does_not_hold_gets_neither_password_nor_mail(
    certificate: Path, security: SmtpSecurity
) -> None:
    post = Post()
    async with _post(post, certificate, security) as transport:
        delivery = await SmtpMail(transport._server).send(MAIL)

    assert (delivery.fate, post.mails) == (Fate.LATER, [])


async def test_a_server_without_starttls_gets_nothing(certificate: Path) -> None:
    post = Post()
    async with _post(post, certificate, SmtpSecurity.NONE) as transport:
        delivery = await SmtpMail(replace(transport._server, security=SmtpSecurity.STARTTLS)).send(MAIL)

    assert (delivery.fate, post.mails) == (Fate.LATER, [])


async def test_nobody_there_and_nobody_answering_is_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "LONGEST_SECONDS", 0.2)
    async with _listening(asyncio.Protocol) as silent:
        slow = await SmtpMail(SmtpServer("127.0.0.1", silent, SmtpSecurity.NONE)).send(MAIL)
    gone = await SmtpMail(SmtpServer("127.0.0.1", silent, SmtpSecurity.NONE)).send(MAIL)

    assert (slow.fate, gone.fate) == (Fate.LATER, Fate.LATER)


@pytest.mark.parametrize(
    "changed", [{"to": "ann@example.org\r\nBcc: all@example.com"}, {"sender": "a\r\nX: y <n@x.test>"}]
)
async def test_a_line_break_in_a_header_is_never_sent(certificate: Path, changed: dict[str, str]) -> None:
    post = Post()
    async with _post(post, certificate, SmtpSecurity.NONE) as transport:
        delivery = await transport.send(replace(MAIL, **changed))  # type: ignore[arg-type]

    assert (delivery.fate, post.mails) == (Fate.NEVER, [])
