"""Every query on people, for operators."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, or_, select

from polaris_common.db import Repository
from polaris_common.db.pages import Page, Paging
from polaris_common.identity.principals import Operator
from polaris_common.models import Account, ChargingSession, Role, SessionState, TagMapping, User


class UserRepository(Repository[User]):
    """Starts from an operator; nobody else reads people."""

    model = User

    def readable_by(self, operator: Operator) -> Select[User]:
        """Everybody."""
        return select(User)

    async def list(self, operator: Operator, *, q: str | None, role: Role | None, paging: Paging) -> Page[User]:
        """One page by name; ``q`` is part of a name, an address or a public id."""
        query = self.readable_by(operator).order_by(func.lower(User.name).nulls_last(), User.id)
        if q:
            query = query.where(
                or_(
                    User.name.icontains(q, autoescape=True),
                    User.email.icontains(q, autoescape=True),
                    func.lower(User.public_id) == q.lower(),
                )
            )
        if role is not None:
            query = query.where(User.role == role)
        return await self.page(query, paging)

    async def get(self, operator: Operator, user_id: UUID, *, for_update: bool = False) -> User | None:
        """One person."""
        query = self.readable_by(operator).where(User.id == user_id)
        return await self.one_or_none(query.with_for_update() if for_update else query)

    async def mappings(self, user_id: UUID) -> Sequence[TagMapping]:
        """A person's cards, active ones first."""
        query = (
            select(TagMapping).where(TagMapping.user_id == user_id).order_by(TagMapping.is_active.desc(), TagMapping.id)
        )
        return list((await self.uow.execute(query)).scalars())

    async def accounts(self, user_id: UUID) -> Sequence[Account]:
        """A person's ways of signing in."""
        query = select(Account).where(Account.user_id == user_id).order_by(Account.created_at, Account.id)
        return list((await self.uow.execute(query)).scalars())

    async def is_charging(self, user_id: UUID) -> bool:
        """Whether a session of theirs is open."""
        found = exists().where(ChargingSession.user_id == user_id, ChargingSession.state == SessionState.OPEN)
        return bool((await self.uow.execute(select(found))).scalar_one())

    async def delete(self, user_id: UUID) -> None:
        """Remove a person with their sign-ins; their charging history stays without them."""
        await self.uow.execute(delete(User).where(User.id == user_id))
