"""Every query on accounts and the Lago customers that they are linked to."""

from uuid import UUID

from sqlalchemy import exists, func, insert, select, update

from polaris_common.db import Repository
from polaris_common.ids import new_public_id
from polaris_common.models import Role, TagMapping, User


class AccountRepository(Repository[User]):
    """Accounts by the Lago customer they belong to."""

    model = User

    async def of_customer(self, customer: str) -> UUID | None:
        """The account that is directly linked to the customer."""
        found: UUID | None = await self.uow.session.scalar(
            select(User.id).where(User.lago_customer_external_id == customer)
        )
        return found

    async def card_owners(self, customer: str) -> list[UUID]:
        """The owners of the customer's cards, the newest card's first."""
        query = (
            select(TagMapping.user_id)
            .where(TagMapping.lago_customer_external_id == customer, TagMapping.user_id.is_not(None))
            .group_by(TagMapping.user_id)
            .order_by(func.max(TagMapping.id).desc())
        )
        return [owner for owner in (await self.uow.session.execute(query)).scalars() if owner is not None]

    async def paid_by(self, customer: str) -> UUID | None:
        """The account that the customer pays for: linked directly, else the owner of the newest card."""
        return await self.of_customer(customer) or next(iter(await self.card_owners(customer)), None)

    async def with_email(self, email: str) -> User | None:
        """The account with that address, compared without case."""
        return await self.one_or_none(select(User).where(func.lower(User.email) == email.lower()))

    async def has_cards_of_another(self, user_id: UUID, customer: str) -> bool:
        """Whether a card of the account belongs to another customer."""
        other = TagMapping.lago_customer_external_id.is_distinct_from(customer)
        query = select(
            exists().where(TagMapping.user_id == user_id, TagMapping.lago_customer_external_id.is_not(None), other)
        )
        return bool(await self.uow.session.scalar(query))

    async def link(self, user_id: UUID, customer: str) -> None:
        """Link the account to the customer unless it is linked already.

        Raises:
            IntegrityError: another account is linked to the customer.
        """
        await self.uow.execute(
            update(User)
            .where(User.id == user_id, User.lago_customer_external_id.is_(None))
            .values(lago_customer_external_id=customer, updated_at=func.now())
            .execution_options(synchronize_session=False)
        )

    async def create(self, customer: str, email: str | None, name: str | None) -> UUID:
        """Make a customer's account.

        Raises:
            IntegrityError: the customer or the address has an account by now.
        """
        values = {
            "public_id": new_public_id(),
            "email": email,
            "name": name,
            "role": Role.CUSTOMER.value,
            "lago_customer_external_id": customer,
        }
        user_id: UUID = (await self.uow.execute(insert(User).values(values).returning(User.id))).scalar_one()
        return user_id
