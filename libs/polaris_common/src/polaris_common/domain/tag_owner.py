"""Whose tag is it? One rule for every path: a tag's own active mapping, else its nearest ancestor's.

A tag whose own mapping is inactive belongs to nobody: it never inherits, so switching a card off always works.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

MAX_DEPTH = 10
"""Longer parent chains than this do not occur; cycles do."""


@dataclass(frozen=True)
class MappingValue:
    """What the rule needs of a tag mapping."""

    id: int
    is_active: bool
    user_id: UUID | None
    lago_customer_external_id: str | None
    lago_subscription_external_id: str | None
    billing_tier: str


def lineage(id_tag: str, parents: Mapping[str, str | None]) -> list[str]:
    """``id_tag`` and its ancestors, nearest first, in lower case; a circle ends where it closes.

    Keys of ``parents`` are lower-case: SteVe compares idTags without case. The last one named need not be a key.
    """
    tags: list[str] = []
    tag: str | None = id_tag.lower()
    while tag is not None and tag not in tags and len(tags) < MAX_DEPTH:
        tags.append(tag)
        parent = parents.get(tag)
        tag = None if parent is None else parent.lower()
    return tags


def nearest_mapping(
    id_tag: str, mappings: Mapping[str, MappingValue], parents: Mapping[str, str | None]
) -> MappingValue | None:
    """The tag's own mapping, else its nearest ancestor's, active or not."""
    return next((mappings[tag] for tag in lineage(id_tag, parents) if tag in mappings), None)


def owner_of(
    id_tag: str, mappings: Mapping[str, MappingValue], parents: Mapping[str, str | None]
) -> MappingValue | None:
    """The mapping that answers for ``id_tag``, or None.

    Keys of ``mappings`` and ``parents`` are lower-case: SteVe compares idTags without case.
    """
    mapping = nearest_mapping(id_tag, mappings, parents)
    return mapping if mapping is not None and mapping.is_active else None
