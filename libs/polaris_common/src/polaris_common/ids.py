"""Identifiers that people and other systems see."""

import secrets
import uuid

PUBLIC_ID_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""30 symbols that are hard to confuse in print."""

PUBLIC_ID_LENGTH = 8


def new_public_id() -> str:
    """An id for a sticker or a QR code: 8 symbols of ``PUBLIC_ID_ALPHABET``."""
    return "".join(secrets.choice(PUBLIC_ID_ALPHABET) for _ in range(PUBLIC_ID_LENGTH))


def new_request_id() -> str:
    """A request id of 32 hexadecimal digits."""
    return uuid.uuid4().hex


def lago_transaction_id(
    steve_transaction_id: int, from_wh: int, to_wh: int, layer: int = 0, *, earlier_charges: int = 0
) -> str:
    """The Lago event id of one slice: the same slice has the same id for ever, whoever sends it and when.

    ``layer``: 0 for energy sold first; corrections have their own ids. ``earlier_charges``: how many charges SteVe had
    under the same id before (a replaced SteVe counts anew).
    """
    charge = f".{earlier_charges + 1}" if earlier_charges else ""
    slice_id = f"steve_tx_{steve_transaction_id}{charge}_{from_wh}_{to_wh}"
    return slice_id if layer == 0 else f"{slice_id}_r{layer}"
