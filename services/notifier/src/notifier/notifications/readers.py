"""Who there is to tell and what they have switched, each asked for once in a batch."""

from collections.abc import Iterable
from uuid import UUID

from notifier.notifications.repository import operators, people
from polaris_common.db import UnitOfWork
from polaris_common.models import User
from polaris_common.notifications.preferences import PreferenceRepository, is_on
from polaris_common.notifications.topics import TOPICS, Channel, Topic


class Readers:
    """What one unit of work knows of people; nothing of it outlives that."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._people: dict[UUID, User | None] = {}
        self._operators: list[User] | None = None
        self._chosen: dict[tuple[Topic, Channel], dict[UUID, bool]] = {}

    async def people(self, ids: Iterable[UUID]) -> list[User]:
        """Those of these people who have an account, in an order that is always the same."""
        wanted = sorted(set(ids))
        if unknown := [each for each in wanted if each not in self._people]:
            self._people |= dict.fromkeys(unknown)
            self._people |= {user.id: user for user in await people(self._uow, unknown)}
        return [user for each in wanted if (user := self._people[each]) is not None]

    async def operators(self) -> list[User]:
        """Every operator."""
        if self._operators is None:
            self._operators = await operators(self._uow)
        return self._operators

    async def wanting(self, topic: Topic, channel: Channel, candidates: Iterable[User]) -> list[User]:
        """Those of ``candidates`` who are told of a topic on a channel."""
        switch, chosen = TOPICS[topic].channels.get(channel), await self._differing(topic, channel)
        return [each for each in candidates if is_on(switch, chosen.get(each.id))]

    async def all_want(self, topic: Topic, channel: Channel) -> bool:
        """Whether nobody has switched a topic off on a channel."""
        switch, chosen = TOPICS[topic].channels.get(channel), await self._differing(topic, channel)
        return all(is_on(switch, enabled) for enabled in chosen.values())

    async def _differing(self, topic: Topic, channel: Channel) -> dict[UUID, bool]:
        key = topic, channel
        if key not in self._chosen:
            self._chosen[key] = await PreferenceRepository(self._uow).differing(topic, channel)
        return self._chosen[key]
