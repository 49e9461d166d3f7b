"""Registering an operator's device: a code from a signed-in page, redeemed by the app that asked for it (PKCE)."""

import base64
import hashlib
import hmac
import re
from datetime import timedelta

from gateway.devices.enrolment import Enrolled, Enrolment, Flow
from gateway.devices.repository import user_of
from gateway.devices.schemas import RegisterBody
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.device_capabilities import OF_OPERATORS, granted, illegal
from polaris_common.http.errors import ApiError
from polaris_common.identity import one_time
from polaris_common.identity.principals import Operator
from polaris_common.models import Role, TokenPurpose

CODE_LIFETIME = timedelta(seconds=60)
MAX_LABEL_LENGTH = 120
DEFAULT_LABEL = "iPhone"

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43,128}", re.ASCII)


class InvalidCode(ApiError):
    """The code is unknown or used, or the verifier is not the one it was made for."""

    status, code, message = 400, "invalid_code", "This code does not work. Start again from the app."


class CodeExpired(ApiError):
    """The code and its verifier are right, and too late."""

    status, code, message = 410, "code_expired", "This code has expired. Start again from the app."


class InvalidVerifier(ApiError):
    """The verifier has not the form of one."""

    status, code, message = 400, "invalid_verifier", "The code verifier has 43 to 256 characters."


class InvalidPlatform(ApiError):
    """The platform is none that we know."""

    status, code, message = 400, "invalid_platform", "The platform is ios, macos or ipados."


class InvalidCapabilities(ApiError):
    """The set of capabilities is not legal."""

    status, code, message = 400, "invalid_capabilities", "A device cannot have these capabilities."


def is_challenge(text: str) -> bool:
    """Whether ``text`` may be a code challenge: 43 to 128 characters of base64url."""
    return _CHALLENGE.fullmatch(text) is not None


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def mint(uow: UnitOfWork, operator: Operator, *, challenge: str, label: str) -> str:
    """A code that the app with the challenge's verifier may redeem within 60 seconds."""
    payload = {
        "codeChallenge": challenge,
        "label": label.strip()[:MAX_LABEL_LENGTH] or DEFAULT_LABEL,
        "requestedCapabilities": sorted(OF_OPERATORS),
    }
    return await one_time.issue(
        uow, TokenPurpose.DEVICE_REGISTRATION, lifetime=CODE_LIFETIME, user_id=operator.user_id, payload=payload
    )


async def register(database: Database, enrolment: Enrolment, body: RegisterBody) -> Enrolled:
    """Redeem a code. It is used up exactly when the device exists.

    The device gets what it asks for as far as the code allows.

    Raises:
        InvalidCode, CodeExpired, InvalidCapabilities: nothing has changed.
    """
    purpose, code = TokenPurpose.DEVICE_REGISTRATION, body.one_time_code
    async with database.unit_of_work() as uow:
        minted = await one_time.look_at(uow, purpose, code)
        if minted is None:
            late = await one_time.look_at_expired(uow, purpose, code)
            raise CodeExpired if late is not None and _proves(late, body) else InvalidCode
        if not _proves(minted, body):
            raise InvalidCode
        capabilities = granted(body.requested_capabilities, minted.payload["requestedCapabilities"])
        if illegal(capabilities) is not None:
            raise InvalidCapabilities
        owner = None if minted.user_id is None else await user_of(uow, minted.user_id)
        if owner is None or owner.role != Role.ADMIN or await one_time.use(uow, purpose, code) is None:
            raise InvalidCode
        return await enrolment.enrol(uow, owner, body.details(body.label), Flow.REGISTER, capabilities)


def _proves(minted: one_time.Used, body: RegisterBody) -> bool:
    return hmac.compare_digest(challenge_of(body.code_verifier), str(minted.payload["codeChallenge"]))
