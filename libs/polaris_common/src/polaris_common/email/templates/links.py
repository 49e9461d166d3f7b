"""Links that end with a one-time token."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from polaris_common.models import Role, TokenPurpose


@dataclass(frozen=True)
class TokenLink:
    """A link that ends with a one-time token; only a recipient with ``role`` gets the mail at all."""

    address: str
    """Everything before the token."""
    purpose: TokenPurpose
    lifetime: timedelta
    role: Role
    payload: dict[str, Any] = field(default_factory=dict)
