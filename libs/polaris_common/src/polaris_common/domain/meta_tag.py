"""The names of the idTags that we create, and what a name says about a tag.

OCPP 1.6 limits an idToken to 20 characters, and SteVe refuses characters outside ``[a-zA-Z0-9.:_#-]``: every name of
ours passes through ``fitting``.
"""

import re
from uuid import UUID

MAX_ID_TAG_LENGTH = 20
"""OCPP 1.6 §7.28, CiString20Type."""

_ALLOWED = re.compile(r"[a-zA-Z0-9.:_#-]+")
_META = "META-"
_LEGACY = "OCPP-"
_LEGACY_DEVICE = "OCPP-D-"
_DEVICE = "APP-"


class UnusableIdTag(ValueError):
    """A charge point or SteVe would not take this idTag."""


def fitting(id_tag: str) -> str:
    """``id_tag`` itself, if every charge point and SteVe can carry it.

    Raises:
        UnusableIdTag: it is empty, longer than 20 characters, or has characters that SteVe refuses.
    """
    if len(id_tag) > MAX_ID_TAG_LENGTH or not _ALLOWED.fullmatch(id_tag):
        raise UnusableIdTag(f"{id_tag!r} cannot be an idTag")
    return id_tag


def meta_id_tag(public_id: str) -> str:
    """The meta tag of the customer with this public id: 13 characters."""
    return fitting(f"{_META}{public_id}")


def device_id_tag(public_id: str, device_id: UUID) -> str:
    """The tag of one of a customer's devices: 19 characters."""
    return fitting(f"{_DEVICE}{public_id}-{device_id.hex[:6].upper()}")


def is_device_tag(id_tag: str) -> bool:
    """Whether the name is that of a device's tag, ours or the predecessor's."""
    return id_tag.upper().startswith((_DEVICE, _LEGACY_DEVICE))


def is_legacy_meta_tag(id_tag: str) -> bool:
    """Whether the name is that of a meta tag of the predecessor's first two generations (``OCPP-…``)."""
    name = id_tag.upper()
    return name.startswith(_LEGACY) and not name.startswith(_LEGACY_DEVICE)


def is_meta_tag(id_tag: str) -> bool:
    """Whether the name is that of a customer's meta tag, of any generation."""
    return id_tag.upper().startswith(_META) or is_legacy_meta_tag(id_tag)
