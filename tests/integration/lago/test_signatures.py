"""Only Lago gets in, and only with the body that it signed."""

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from polaris_common.lago import LagoUnavailable
from polaris_common.lago.signatures import (
    SignatureInvalid,
    SignatureMissing,
    SignatureUncheckable,
    WebhookVerifier,
    hmac_matches,
)

BODY = b'{"webhook_type":"invoice.voided","invoice":{"lago_id":"1","name":"A \\u003c B"}}'
FORGED = b'{"webhook_type":"subscription.terminated"}'


class Key:
    """An RSA key pair."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65_537, 2_048)
        self.private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, body: bytes) -> str:
        """As Lago does: the whole body is a claim, ``iss`` may be null."""
        claims = json.dumps({"data": body.decode(), "iss": None}).encode()
        return jwt.PyJWS().encode(claims, self.private, algorithm="RS256")


@pytest.fixture(scope="module")
def key() -> Key:
    """Lago's key."""
    return Key()


@pytest.fixture(scope="module")
def other() -> Key:
    """Somebody else's key, or Lago's next one."""
    return Key()


def serving(*keys: bytes | Exception) -> tuple[Callable[[], Awaitable[bytes]], list[int]]:
    """A Lago that answers with these keys in turn, the last one for ever; and how often it was asked."""
    asked: list[int] = []

    async def fetch() -> bytes:
        asked.append(1)
        answer = keys[min(len(asked), len(keys)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return fetch, asked


def hmac_headers(secret: str, body: bytes) -> dict[str, str]:
    """The headers of an HMAC endpoint."""
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    return {"x-lago-signature": digest, "x-lago-signature-algorithm": "hmac"}


async def test_an_hmac_signature_belongs_to_one_body_and_one_key() -> None:
    verifier = WebhookVerifier(hmac_secret="right")
    await verifier.verify(BODY, hmac_headers("right", BODY))
    for headers, body in ((hmac_headers("right", BODY), FORGED), (hmac_headers("wrong", BODY), BODY)):
        with pytest.raises(SignatureInvalid):
            await verifier.verify(body, headers)


@pytest.mark.parametrize("signature", ["", "ä", "\x00", "=" * 10_000, "AAAA"])
def test_nonsense_is_no_hmac_signature(signature: str) -> None:
    assert not hmac_matches("right", BODY, signature)


async def test_hmac_without_a_configured_key_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        await WebhookVerifier().verify(BODY, hmac_headers("", BODY))


async def test_a_request_without_a_signature_is_told_so() -> None:
    with pytest.raises(SignatureMissing):
        await WebhookVerifier(hmac_secret="right").verify(BODY, {})


async def test_a_jwt_is_accepted_for_exactly_its_body(key: Key) -> None:
    fetch, _ = serving(key.public)
    await WebhookVerifier(public_key=fetch).verify(BODY, {"x-lago-signature": key.sign(BODY)})


async def test_a_forged_body_under_a_valid_captured_jwt_is_refused(key: Key) -> None:
    fetch, _ = serving(key.public)
    captured = key.sign(BODY)
    with pytest.raises(SignatureInvalid):
        await WebhookVerifier(public_key=fetch).verify(FORGED, {"x-lago-signature": captured})
    with pytest.raises(SignatureInvalid):
        await WebhookVerifier(public_key=fetch).verify(BODY + b" ", {"x-lago-signature": captured})


async def test_no_other_algorithm_than_rs256_is_believed(key: Key, other: Key) -> None:
    fetch, _ = serving(key.public)
    claims = {"data": BODY.decode()}
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    said = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    mac = hmac.new(key.public, head + b"." + said, hashlib.sha256).digest()
    confused = b".".join((head, said, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()
    tokens = [
        confused,
        jwt.encode(claims, key="", algorithm="none"),
        jwt.encode(claims, key.private, algorithm="RS512"),
        other.sign(BODY),
        jwt.encode({"data": 7}, key.private, algorithm="RS256"),
        jwt.encode({}, key.private, algorithm="RS256"),
        "a.b.c",
        "eyJ.!!!.???",
    ]
    verifier = WebhookVerifier(public_key=fetch)
    for token in tokens:
        with pytest.raises(SignatureInvalid):
            await verifier.verify(BODY, {"x-lago-signature": token, "x-lago-signature-algorithm": "jwt"})


async def test_a_new_key_is_fetched_when_the_old_one_does_not_fit(
    key: Key, other: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.lago.signatures.KEY_REFETCH_SECONDS", 0)
    fetch, asked = serving(key.public, other.public)
    verifier = WebhookVerifier(public_key=fetch)
    await verifier.verify(BODY, {"x-lago-signature": key.sign(BODY)})
    await verifier.verify(BODY, {"x-lago-signature": other.sign(BODY)})
    assert len(asked) == 2


async def test_forged_requests_do_not_make_us_ask_lago_each_time(key: Key, other: Key) -> None:
    fetch, asked = serving(key.public)
    verifier = WebhookVerifier(public_key=fetch)
    await verifier.verify(BODY, {"x-lago-signature": key.sign(BODY)})
    for _ in range(20):
        with pytest.raises(SignatureInvalid):
            await verifier.verify(BODY, {"x-lago-signature": other.sign(BODY)})
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [LagoUnavailable("HTTP 502"), b"no key at all"])
async def test_without_lagos_key_nothing_is_right_or_wrong(key: Key, answer: bytes | Exception) -> None:
    fetch, _ = serving(answer)
    with pytest.raises(SignatureUncheckable):
        await WebhookVerifier(public_key=fetch).verify(BODY, {"x-lago-signature": key.sign(BODY)})
