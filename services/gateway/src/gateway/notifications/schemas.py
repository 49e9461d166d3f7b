"""Notifications on the wire (contract-admin §1.7, §12; contract-customer §4.25 to §4.27)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from gateway.lists import Listed
from gateway.wire import Wire, WireTime
from polaris_common.notifications.preferences import is_on
from polaris_common.notifications.repository import Seen
from polaris_common.notifications.topics import TOPICS, Channel, Severity, Switch, Topic


class NotificationRead(Wire):
    """One notification, with what the caller made of it."""

    id: int
    kind: str
    severity: Severity
    title: str
    body: str
    source_type: str | None
    source_id: str | None
    source_url: str | None
    """A path on the reader's own host, or a whole address elsewhere."""
    context: dict[str, Any] | None
    admin_user_id: UUID | None
    """Whom it is addressed to, driver or operator; null when it goes to all operators."""
    read_at: WireTime | None
    dismissed_at: WireTime | None
    created_at: WireTime

    @classmethod
    def of(cls, seen: Seen) -> Self:
        """One row."""
        row, receipt = seen.notification, seen.receipt
        return cls(
            id=row.id,
            kind=row.kind,
            severity=Severity(row.severity),
            title=row.title,
            body=row.body,
            source_type=row.source_type,
            source_id=row.source_id,
            source_url=row.source_url,
            context=row.context,
            admin_user_id=row.user_id,
            read_at=receipt.read_at if receipt else None,
            dismissed_at=receipt.dismissed_at if receipt else None,
            created_at=row.created_at,
        )


class NotificationList(Listed[NotificationRead]):
    """One page of the archive."""


class UnreadNotifications(Wire):
    """The newest notifications that are neither read nor dismissed."""

    items: list[NotificationRead]


class UnreadCount(Wire):
    """How many notifications are neither read nor dismissed."""

    count: int


class NotificationChange(Wire):
    """What is to become of a notification."""

    action: Literal["mark_read", "dismiss"] = "mark_read"


class NotificationChanged(Wire):
    """``updated``: whether anything changed; a repeat changes nothing."""

    ok: bool = True
    updated: bool


class NotificationsRead(Wire):
    """How many notifications were not read or dismissed before."""

    updated: int


class ChannelSwitch(Wire):
    """How a topic stands on one channel."""

    enabled: bool
    mandatory: bool
    """It cannot be switched off."""


class TopicRead(Wire):
    """One topic; a channel that is null is never used for it."""

    topic: Topic
    label: str
    in_app: ChannelSwitch | None
    email: ChannelSwitch | None

    @classmethod
    def of(cls, topic: Topic, chosen: Mapping[tuple[Topic, Channel], bool]) -> Self:
        """A topic as somebody has set it."""

        def switch(channel: Channel) -> ChannelSwitch | None:
            rule: Switch | None = TOPICS[topic].channels.get(channel)
            if rule is None:
                return None
            return ChannelSwitch(enabled=is_on(rule, chosen.get((topic, channel))), mandatory=rule.mandatory)

        return cls(topic=topic, label=TOPICS[topic].label, in_app=switch(Channel.IN_APP), email=switch(Channel.EMAIL))


class Preferences(Wire):
    """Everything that somebody may be told about."""

    topics: list[TopicRead]

    @classmethod
    def of(cls, topics: Sequence[Topic], chosen: Mapping[tuple[Topic, Channel], bool]) -> Self:
        """The topics in their order."""
        return cls(topics=[TopicRead.of(topic, chosen) for topic in topics])


class PreferenceChange(Wire):
    """One switch."""

    topic: Topic
    channel: Annotated[Literal["inApp", "email"], Field(description="As the preferences name it.")]
    enabled: bool


class PreferenceChanges(Wire):
    """Switches to set; those that are not named stay. Of several for the same the last one counts."""

    changes: Annotated[list[PreferenceChange], Field(max_length=100)]

    def wanted(self) -> dict[tuple[Topic, Channel], bool]:
        """As the repository takes them."""
        channels = {"inApp": Channel.IN_APP, "email": Channel.EMAIL}
        return {(each.topic, channels[each.channel]): each.enabled for each in self.changes}
