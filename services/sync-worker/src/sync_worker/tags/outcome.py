"""What a pass over the tags came to."""

from dataclasses import dataclass, field
from enum import StrEnum


class TagWarning(StrEnum):
    """Why a pass did less than it would have."""

    CONSENT_NEEDED = "tag_blocks_need_consent"
    """More tags would be blocked than may be without an operator's word."""
    BLOCKS_REFUSED = "tag_blocks_refused"
    """An operator has said that these tags are not to be blocked."""
    LIST_INCOMPLETE = "tag_list_incomplete"
    """SteVe's list lacks tags that SteVe still has: nothing is blocked on such a list."""
    NO_MAPPINGS = "no_tag_mappings"
    """There is not one mapping: nothing can be concluded about any tag."""
    STEVE_UNREACHABLE = "steve_unreachable"
    """SteVe stopped answering in the middle."""
    DISABLED = "tag_sync_disabled"


@dataclass
class TagOutcome:
    """The counters of one pass."""

    seen: int = 0
    new: int = 0
    """Tags that the mirror did not have."""
    activated: int = 0
    deactivated: int = 0
    updated: int = 0
    held: int = 0
    """Tags that should have another limit and keep theirs: for want of consent, expired, or changed meanwhile."""
    failed: int = 0
    refused: list[str] = field(default_factory=list)
    """The idTags (lower case) whose change SteVe would not have."""
    warnings: list[TagWarning] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Tags whose limit we have changed."""
        return self.activated + self.deactivated + self.updated

    def warn(self, warning: TagWarning) -> None:
        """Note a warning once."""
        if warning not in self.warnings:
            self.warnings.append(warning)
