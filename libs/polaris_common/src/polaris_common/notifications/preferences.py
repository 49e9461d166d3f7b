"""What people want to be told: what they have switched, beside what holds for everybody."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository
from polaris_common.models import NotificationPreference, Role
from polaris_common.notifications.topics import TOPICS, Channel, Switch, Topic


class PreferenceRepository(Repository[NotificationPreference]):
    """Every query on preferences."""

    model = NotificationPreference

    async def of(self, user_id: UUID) -> dict[tuple[Topic, Channel], bool]:
        """What somebody has switched; topics and channels of another version are left out."""
        rows = await self.all(select(NotificationPreference).where(NotificationPreference.user_id == user_id))
        return {
            (Topic(row.topic), Channel(row.channel)): row.enabled
            for row in rows
            if row.topic in TOPICS and Channel(row.channel) in TOPICS[Topic(row.topic)].channels
        }

    async def switch(self, user_id: UUID, wanted: Mapping[tuple[Topic, Channel], bool]) -> None:
        """Note what somebody wants; what they do not name stays."""
        if not wanted:
            return
        rows = [
            {"user_id": user_id, "topic": topic.value, "channel": channel.value, "enabled": enabled}
            for (topic, channel), enabled in wanted.items()
        ]
        statement = insert(NotificationPreference).values(rows)
        await self.uow.execute(
            statement.on_conflict_do_update(
                index_elements=["user_id", "topic", "channel"],
                set_={"enabled": statement.excluded.enabled, "updated_at": func.now()},
            )
        )

    async def silenced(self, user_id: UUID) -> list[Topic]:
        """The topics that somebody does not want to see in the app."""
        switched = await self.of(user_id)
        return [
            topic
            for topic, info in TOPICS.items()
            if not is_on(info.channels.get(Channel.IN_APP), switched.get((topic, Channel.IN_APP)))
        ]

    async def differing(self, topic: Topic, channel: Channel) -> dict[UUID, bool]:
        """Who has switched a topic on a channel, and how."""
        query = select(NotificationPreference.user_id, NotificationPreference.enabled).where(
            NotificationPreference.topic == topic, NotificationPreference.channel == channel
        )
        return {row.user_id: row.enabled for row in await self.uow.execute(query)}


def is_on(switch: Switch | None, chosen: bool | None) -> bool:
    """Whether a channel is used for somebody who has ``chosen`` so, or said nothing."""
    if switch is None:
        return False
    return switch.default if switch.mandatory or chosen is None else chosen


def topics_of(role: Role) -> list[Topic]:
    """The topics that concern people of this role."""
    return [topic for topic, info in TOPICS.items() if info.reader is role]
