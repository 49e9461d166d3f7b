"""The callers we know."""

from dataclasses import dataclass
from uuid import UUID

from polaris_common.events.catalogue import OPERATORS, PUBLIC, user_audience


@dataclass(frozen=True)
class Operator:
    """A signed-in admin."""

    user_id: UUID

    @property
    def audiences(self) -> frozenset[str]:
        """Whose events they may see."""
        return frozenset({PUBLIC, OPERATORS, user_audience(self.user_id)})


@dataclass(frozen=True)
class Driver:
    """A signed-in customer."""

    user_id: UUID

    @property
    def audiences(self) -> frozenset[str]:
        """Whose events they may see: their own and public ones."""
        return frozenset({PUBLIC, user_audience(self.user_id)})


Principal = Operator | Driver
