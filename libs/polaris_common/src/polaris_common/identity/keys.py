"""Keys for one use each, derived from ``AUTH_SECRET``: what is made for one use is worthless for every other."""

import hashlib
import hmac
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


class KeyUse(StrEnum):
    """What a derived key is for; the text is HKDF's label and never changes."""

    AUDIT_EMAIL = "polaris/audit-email/v1"
    SIGN_IN_SUBJECT = "polaris/sign-in-subject/v1"
    TAPPED_TAG = "polaris/tapped-tag/v1"
    SCAN_NONCE = "polaris/scan-nonce/v1"
    DEVICE_SECRET = "polaris/device-secret/v1"  # noqa: S105 - a label, no secret


def derive_key(secret: str, use: KeyUse) -> bytes:
    """32 bytes for ``use``."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=use.value.encode()).derive(secret.encode())


def keyed_hash(key: bytes, *fields: str) -> bytes:
    """HMAC-SHA256 over ``fields``, each with its length before it, so that no two lists of fields look alike."""
    message = b"".join(len(raw).to_bytes(4) + raw for raw in (field.encode() for field in fields))
    return hmac.digest(key, message, hashlib.sha256)
