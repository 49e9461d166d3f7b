"""Passwords as argon2id, off the event loop."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_PASSWORD_LENGTH = 12

_hasher = PasswordHasher()
_NOBODY = _hasher.hash("the password of nobody")


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
