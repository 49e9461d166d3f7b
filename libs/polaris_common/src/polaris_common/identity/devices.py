"""Devices and their credentials (contract-devices §1.3): issuing, resolving and taking them away.

The device holds a bearer token and an HMAC secret. We hold the token's SHA-256, and the secret encrypted under a key of
ours and bound to its device, because an HMAC can only be checked with the secret itself.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ARRAY, Uuid, any_, func, insert, literal, or_, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from polaris_common.db import Repository, UnitOfWork
from polaris_common.http.errors import Unauthorized
from polaris_common.identity.keys import KeyUse, derive_key
from polaris_common.identity.principals import Device
from polaris_common.models import AppDevice, DeviceToken, Role, User

TOKEN_PREFIX = "dev_"  # noqa: S105 - public
SECRET_BYTES = 32
MIN_TOKEN_LENGTH, MAX_TOKEN_LENGTH = 6, 256
TOKEN_LIFETIME = timedelta(days=365)
RENEW_AFTER = timedelta(days=30)
"""A token in use lives ``TOKEN_LIFETIME`` from its last use, to within so much."""
USE_NOTED_EVERY = timedelta(minutes=5)
SEEN_NOTED_EVERY = timedelta(seconds=30)
"""A device counts as online for 90 s after it was seen: often enough that one that calls each minute always does."""

_GCM_NONCE_BYTES = 12


class BearerRefused(Unauthorized):
    """No device token, or one that stands for no device; in the contract's spelling (contract-devices §1.2)."""

    code, message = "Unauthorized", "This device is not registered."


@dataclass(frozen=True)
class Credentials:
    """What a device is given once."""

    token_id: UUID
    token: str
    """``dev_`` and 43 characters of base64url."""
    secret: str
    """43 characters of base64url: 32 bytes."""
    expires_at: datetime

    @property
    def hash_prefix(self) -> str:
        """The first 8 hex digits of the token's hash, for the audit."""
        return token_hash(self.token)[:8]


@dataclass(frozen=True)
class ResolvedDevice:
    """Whose token it was."""

    principal: Device
    sealed_secret: bytes


def bearer_token(authorization: str | None) -> str | None:
    """The device token in an ``Authorization`` header; None unless it is exactly ``Bearer dev_…`` of 6 to 256."""
    if authorization is None or not authorization.startswith("Bearer "):
        return None
    token = authorization.removeprefix("Bearer ").strip()
    if not token.startswith(TOKEN_PREFIX) or not MIN_TOKEN_LENGTH <= len(token) <= MAX_TOKEN_LENGTH:
        return None
    return token


def token_hash(token: str) -> str:
    """Lower-case hex SHA-256 of the whole token."""
    return hashlib.sha256(token.encode()).hexdigest()


class SecretVault:
    """Encrypts device secrets (AES-256-GCM); a secret copied to another device's row does not open there."""

    def __init__(self, auth_secret: str) -> None:
        self._cipher = AESGCM(derive_key(auth_secret, KeyUse.DEVICE_SECRET))

    def seal(self, device_id: UUID, secret: str) -> bytes:
        """``secret`` as stored."""
        nonce = secrets.token_bytes(_GCM_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), device_id.bytes)

    def open(self, device_id: UUID, sealed: bytes) -> bytes | None:
        """The secret's 32 bytes, or None when it cannot be read (another AUTH_SECRET, another device)."""
        nonce, encrypted = sealed[:_GCM_NONCE_BYTES], sealed[_GCM_NONCE_BYTES:]
        try:
            return decoded(self._cipher.decrypt(nonce, encrypted, device_id.bytes).decode())
        except InvalidTag:
            return None


def decoded(secret: str) -> bytes:
    """The bytes of a base64url text without padding."""
    return base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))


def scan_signature(secret: bytes, *, id_tag: str, pairing_code: str, device_id: UUID, ts: int) -> str:
    """What a device signs a scan with (contract-devices §1.10): lower-case hex HMAC-SHA256. ``id_tag``: upper case."""
    message = "|".join(("scan-result/v1", id_tag, pairing_code, str(device_id), str(ts)))
    return hmac.digest(secret, message.encode(), hashlib.sha256).hex()


def apns_token(given: str) -> str | None:
    """A push token as APNs wants it, in lower-case hex; the app sends base64. None when it is neither."""
    text_ = given.strip()
    if len(text_) >= 2 * SECRET_BYTES and all(character in "0123456789abcdefABCDEF" for character in text_):
        return text_.lower()
    standard = text_.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        return None
    return raw.hex() or None


@dataclass(frozen=True)
class DeviceDetails:
    """What an app tells about the device it runs on."""

    label: str
    platform: str
    model: str
    os_version: str
    app_version: str
    apns_environment: str
    push_token: str | None = None
    """In hex."""


class DeviceRepository(Repository[AppDevice]):
    """Every query on devices and their tokens."""

    model = AppDevice

    def __init__(self, uow: UnitOfWork, vault: SecretVault | None = None) -> None:
        super().__init__(uow)
        self._vault = vault

    async def resolve(self, token: str) -> ResolvedDevice | None:
        """Whose live token it is; None for an unknown, revoked or expired one and for a removed device.

        Notes that the device was seen, at most every half minute, and the use of its token, at most every few minutes.
        """
        query = (
            select(
                DeviceToken.id.label("token_id"),
                DeviceToken.sealed_secret,
                AppDevice.id.label("device_id"),
                AppDevice.owner_user_id,
                AppDevice.capabilities,
                User.role,
                or_(DeviceToken.last_used_at.is_(None), DeviceToken.last_used_at < func.now() - USE_NOTED_EVERY).label(
                    "stale"
                ),
                or_(AppDevice.last_seen_at.is_(None), AppDevice.last_seen_at < func.now() - SEEN_NOTED_EVERY).label(
                    "unseen"
                ),
            )
            .join(AppDevice, AppDevice.id == DeviceToken.device_id)
            .join(User, User.id == AppDevice.owner_user_id)
            .where(
                DeviceToken.token_hash == token_hash(token),
                DeviceToken.revoked_at.is_(None),
                DeviceToken.expires_at > func.now(),
                AppDevice.deleted_at.is_(None),
            )
        )
        row = (await self.uow.execute(query)).one_or_none()
        if row is None:
            return None
        if row.stale:
            await self._note_use(row.token_id)
        if row.unseen:
            await self.note_seen(row.device_id)
        principal = Device(
            device_id=row.device_id,
            token_id=row.token_id,
            owner_user_id=row.owner_user_id,
            owner_is_operator=row.role == Role.ADMIN,
            capabilities=frozenset(row.capabilities),
        )
        return ResolvedDevice(principal, row.sealed_secret)

    async def note_seen(self, device_id: UUID) -> None:
        """The device is there now; a row that somebody else holds is being noted already."""
        held = select(AppDevice.id).where(AppDevice.id == device_id).with_for_update(skip_locked=True, key_share=True)
        statement = update(AppDevice).where(AppDevice.id.in_(held)).values(last_seen_at=func.now())
        await self.uow.execute(statement.execution_options(synchronize_session=False))

    async def live_tokens(self, token_ids: Iterable[UUID]) -> set[UUID]:
        """Those of these tokens that still stand for a device."""
        query = (
            select(DeviceToken.id)
            .join(AppDevice, AppDevice.id == DeviceToken.device_id)
            .where(
                DeviceToken.id == any_(literal(list(token_ids), ARRAY(Uuid()))),
                DeviceToken.revoked_at.is_(None),
                DeviceToken.expires_at > func.now(),
                AppDevice.deleted_at.is_(None),
            )
        )
        return set((await self.uow.execute(query)).scalars())

    async def note_heard(self, token_ids: Iterable[UUID]) -> None:
        """The devices with these tokens hold their streams open."""
        ids = literal(list(token_ids), ARRAY(Uuid()))
        of_tokens = select(DeviceToken.device_id).where(DeviceToken.id == any_(ids))
        seen = update(AppDevice).where(AppDevice.id.in_(of_tokens), AppDevice.deleted_at.is_(None))
        await self.uow.execute(seen.values(last_seen_at=func.now()))

    async def add(self, owner_user_id: UUID, details: DeviceDetails, capabilities: Sequence[str]) -> AppDevice:
        """A new device of ``owner_user_id``."""
        values = _columns(details) | {"owner_user_id": owner_user_id, "capabilities": list(capabilities)}
        statement = insert(AppDevice).values(values).returning(AppDevice)
        return (await self.uow.session.execute(statement)).scalar_one()

    async def never_used_twin(self, owner_user_id: UUID, details: DeviceDetails) -> AppDevice | None:
        """A device of the same label and model whose credentials never arrived: its owner's app tries again.

        One that is in use is another phone, of the same name.
        """
        used = select(DeviceToken.id).where(
            DeviceToken.device_id == AppDevice.id, DeviceToken.last_used_at.is_not(None)
        )
        query = (
            select(AppDevice)
            .where(*_live_of(owner_user_id), AppDevice.label == details.label, AppDevice.model == details.model)
            .where(AppDevice.last_seen_at.is_(None), ~used.exists())
            .order_by(AppDevice.registered_at.desc())
            .limit(1)
        )
        return await self.one_or_none(query)

    async def refresh(self, device_id: UUID, details: DeviceDetails, capabilities: Sequence[str]) -> AppDevice:
        """Register a device anew, as what its app tells now."""
        statement = (
            update(AppDevice)
            .where(AppDevice.id == device_id)
            .values(_columns(details) | {"capabilities": list(capabilities), "registered_at": func.now()})
            .returning(AppDevice)
        )
        return (await self.uow.session.execute(statement)).scalar_one()

    async def issue(self, device_id: UUID) -> Credentials:
        """New credentials; the device's former ones end."""
        if self._vault is None:
            raise RuntimeError("issuing credentials needs the vault")
        await self.revoke_tokens(device_id)
        token, secret = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        values = {
            "device_id": device_id,
            "token_hash": token_hash(token),
            "sealed_secret": self._vault.seal(device_id, secret),
            "expires_at": func.now() + TOKEN_LIFETIME,
        }
        statement = insert(DeviceToken).values(values).returning(DeviceToken.id, DeviceToken.expires_at)
        row = (await self.uow.execute(statement)).one()
        return Credentials(row.id, token, secret, row.expires_at)

    async def revoke_tokens(self, device_id: UUID) -> list[UUID]:
        """End a device's credentials; the ids of those that ended."""
        statement = (
            update(DeviceToken)
            .where(DeviceToken.device_id == device_id, DeviceToken.revoked_at.is_(None))
            .values(revoked_at=func.now())
            .returning(DeviceToken.id)
        )
        return list((await self.uow.execute(statement)).scalars())

    async def remove(self, device_id: UUID, *, by: UUID | None) -> bool:
        """Mark a device removed and revoked; False when it already was."""
        statement = (
            update(AppDevice)
            .where(AppDevice.id == device_id, AppDevice.deleted_at.is_(None))
            .values(
                deleted_at=func.now(),
                revoked_at=func.coalesce(AppDevice.revoked_at, func.now()),
                revoked_by_user_id=literal(by, AppDevice.revoked_by_user_id.type),
                push_token=None,
            )
        )
        return await self.uow.write(statement) == 1

    async def beyond_cap(self, owner_user_id: UUID, cap: int) -> list[UUID]:
        """The owner's live devices beyond the ``cap`` that were heard of last; the least recently heard of first."""
        heard = func.greatest(AppDevice.last_seen_at, AppDevice.registered_at)
        query = select(AppDevice.id).where(*_live_of(owner_user_id)).order_by(heard.desc(), AppDevice.id).offset(cap)
        return list((await self.uow.execute(query)).scalars())[::-1]

    async def lock_owner(self, owner_user_id: UUID) -> None:
        """Let sign-ins of one person wait for each other until the transaction ends."""
        await self.uow.execute(select(User.id).where(User.id == owner_user_id).with_for_update(key_share=True))

    async def of_id(self, device_id: UUID) -> AppDevice | None:
        """A device, removed or not."""
        return await self.one_or_none(select(AppDevice).where(AppDevice.id == device_id))

    async def set_push_token(self, device_id: UUID, push_token: str, environment: str) -> bool:
        """Store where to push; no other device keeps the same token. False when the device is removed."""
        await self.uow.execute(
            update(AppDevice)
            .where(AppDevice.push_token == push_token, AppDevice.id != device_id)
            .values(push_token=None)
        )
        statement = (
            update(AppDevice)
            .where(AppDevice.id == device_id, AppDevice.deleted_at.is_(None))
            .values(push_token=push_token, apns_environment=environment)
        )
        return await self.uow.write(statement) == 1

    async def _note_use(self, token_id: UUID) -> None:
        # A row that another request of the device holds is being noted already.
        statement = text("""
            UPDATE device_tokens SET last_used_at = now(),
                expires_at = CASE WHEN expires_at < now() + :renewed THEN now() + :lifetime ELSE expires_at END
            WHERE id = (SELECT id FROM device_tokens WHERE id = :id FOR UPDATE SKIP LOCKED)
        """)
        values = {"id": token_id, "lifetime": TOKEN_LIFETIME, "renewed": TOKEN_LIFETIME - RENEW_AFTER}
        await self.uow.execute(statement, values)


def _live_of(owner_user_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return AppDevice.owner_user_id == owner_user_id, AppDevice.deleted_at.is_(None)


def _columns(details: DeviceDetails) -> dict[str, object]:
    columns: dict[str, object] = {
        "label": details.label,
        "platform": details.platform,
        "model": details.model,
        "os_version": details.os_version,
        "app_version": details.app_version,
        "apns_environment": details.apns_environment,
    }
    return columns if details.push_token is None else columns | {"push_token": details.push_token}
