"""The callers we know."""

from dataclasses import dataclass
from uuid import UUID

from polaris_common.events.catalogue import OPERATORS, PUBLIC, device_audience, user_audience


@dataclass(frozen=True)
class Operator:
    """A signed-in admin."""

    user_id: UUID
    superadmin: bool = False

    @property
    def audiences(self) -> frozenset[str]:
        """Whose events they may see."""
        return frozenset({PUBLIC, OPERATORS, user_audience(self.user_id)})


@dataclass(frozen=True)
class Driver:
    """A signed-in customer, or the customer whose account an operator views."""

    user_id: UUID
    impersonated_by: UUID | None = None
    """The operator who views this account; they may read and nothing else."""

    @property
    def audiences(self) -> frozenset[str]:
        """Whose events they may see: their own and public ones."""
        return frozenset({PUBLIC, user_audience(self.user_id)})


@dataclass(frozen=True)
class Device:
    """A registered phone, tablet or laptop with a valid token, acting for its owner."""

    device_id: UUID
    token_id: UUID
    owner_user_id: UUID
    owner_is_operator: bool
    capabilities: frozenset[str]

    @property
    def audiences(self) -> frozenset[str]:
        """Whose events it may see: its own and its owner's, as a driver."""
        return frozenset({PUBLIC, device_audience(self.device_id), user_audience(self.owner_user_id)})


Principal = Operator | Driver | Device
