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


def owner_of(
    id_tag: str, mappings: Mapping[str, MappingValue], parents: Mapping[str, str | None]
) -> MappingValue | None:
    """The mapping that answers for ``id_tag``, or None.

    Keys of ``mappings`` and ``parents`` are lower-case: SteVe compares idTags without case.
    """
    tag: str | None = id_tag.lower()
    for _ in range(MAX_DEPTH):
        if tag is None:
            return None
        mapping = mappings.get(tag)
        if mapping is not None:
            return mapping if mapping.is_active else None
        parent = parents.get(tag)
        tag = None if parent is None else parent.lower()
    return None
