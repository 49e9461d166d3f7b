"""What every tag's limit should be, from what we have read: the rule of ``domain/tag_limit`` applied to many tags."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from polaris_common.domain.meta_tag import is_meta_tag
from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.tag_limit import (
    LimitDecision,
    SubscriptionState,
    TagFacts,
    decide_limit,
    subscription_state,
    switched_off_by_person,
)
from polaris_common.domain.tag_owner import MappingValue, lineage
from polaris_common.models import TagType
from polaris_common.steve import SteveTag

LAGO_READ_TIME = timedelta(minutes=2)
"""Reading all of Lago may take so long: a subscription made meanwhile may be missing from that reading."""


@dataclass(frozen=True)
class LinkedTag:
    """A mapping, with what the limit needs beside the owner rule."""

    value: MappingValue
    tag_type: str
    deactivation_reason: str | None
    updated_at: datetime

    @property
    def switched_off_by_person(self) -> bool:
        """Whether a person made it inactive."""
        return switched_off_by_person(is_active=self.value.is_active, deactivation_reason=self.deactivation_reason)


@dataclass(frozen=True)
class Planned:
    """One tag that should be written."""

    tag: SteveTag
    decision: LimitDecision

    @property
    def blocks(self) -> bool:
        """Whether it takes away the right to charge."""
        return self.decision.blocks(self.tag.max_active_transaction_count)


@dataclass(frozen=True)
class Snapshot:
    """Tags, mappings and subscriptions as read at one moment; all idTags that are keys are in lower case."""

    tags: Mapping[str, SteveTag]
    links: Mapping[str, LinkedTag]
    subscriptions: Iterable[SubscriptionValue] = ()
    lago_read_at: datetime | None = None
    """When all of Lago's subscriptions were last read completely."""
    protected: Collection[str] = frozenset()
    _parents: dict[str, str | None] = field(init=False, repr=False)
    _by_customer: dict[str, list[SubscriptionValue]] = field(init=False, repr=False)
    _by_id: dict[str, list[SubscriptionValue]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_customer: dict[str, list[SubscriptionValue]] = {}
        by_id: dict[str, list[SubscriptionValue]] = {}
        for each in self.subscriptions:
            by_customer.setdefault(each.external_customer_id, []).append(each)
            by_id.setdefault(each.external_id, []).append(each)
        object.__setattr__(self, "_parents", {name: tag.parent_id_tag for name, tag in self.tags.items()})
        object.__setattr__(self, "_by_customer", by_customer)
        object.__setattr__(self, "_by_id", by_id)

    def decide(self, id_tag: str, *, expired: bool = False) -> LimitDecision:
        """The limit of a tag that is in ``tags``."""
        name = id_tag.lower()
        line = lineage(name, self._parents)
        own, nearest = self.links.get(name), next((self.links[tag] for tag in line if tag in self.links), None)
        return decide_limit(
            TagFacts(
                limit=self.tags[name].max_active_transaction_count,
                own=None if own is None else own.value,
                nearest=None if nearest is None else nearest.value,
                is_meta=is_meta_tag(name) if own is None else own.tag_type == TagType.META,
                subscription=SubscriptionState.UNKNOWN if nearest is None else self._subscription(nearest),
                switched_off_by_person=nearest is not None and nearest.switched_off_by_person,
                protected=name in self.protected,
                expired=expired,
                hierarchy_known=all(tag in self.tags for tag in line),
            )
        )

    def plan(self, names: Iterable[str]) -> list[Planned]:
        """Those of the tags that should be written, as if none were expired."""
        decided = ((self.tags[name], self.decide(name)) for name in names if name in self.tags)
        return [
            Planned(tag, decision) for tag, decision in decided if decision.changes(tag.max_active_transaction_count)
        ]

    def _subscription(self, link: LinkedTag) -> SubscriptionState:
        owner = link.value
        if owner.lago_subscription_external_id is not None:
            theirs = self._by_id.get(owner.lago_subscription_external_id, [])
        else:
            theirs = self._by_customer.get(owner.lago_customer_external_id or "", [])
        read_since = self.lago_read_at is not None and self.lago_read_at - link.updated_at >= LAGO_READ_TIME
        return subscription_state(owner, theirs, absence_counts=read_since)
