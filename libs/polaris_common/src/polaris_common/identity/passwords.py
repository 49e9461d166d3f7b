"""Passwords as argon2id, off the event loop."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_PASSWORD_LENGTH = 12

_hasher = PasswordHasher()
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$TQmOMGt8vp1s4h/Ym+vufA$VW5V9jtqF1u54ikNcGcF8t3jRrUvzEOCFpBktUyq/F8"
"""A hash of no password, with the hasher's parameters; made once and for all, as making it costs each process 0.2 s."""


class PasswordTooShort(ValueError):
    """The password has fewer than 12 characters."""

    def __init__(self) -> None:
        super().__init__(f"a password needs at least {MIN_PASSWORD_LENGTH} characters")


async def hash_password(password: str) -> str:
    """The argon2id hash, with its parameters.

    Raises:
        PasswordTooShort: fewer than 12 characters.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        raise PasswordTooShort
    return await asyncio.to_thread(_hasher.hash, password)


async def verify_password(password: str, stored: str | None) -> bool:
    """Whether ``password`` belongs to ``stored``; takes as long when there is no stored hash."""
    return await asyncio.to_thread(_verify, password, stored)


def _verify(password: str, stored: str | None) -> bool:
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
