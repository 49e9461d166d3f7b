"""People by their account at an identity provider."""

from sqlalchemy import insert, select

from polaris_common.db import UnitOfWork
from polaris_common.models import Account, User


def provider_id(issuer: str) -> str:
    """How accounts of one provider are named."""
    return f"oidc:{issuer}"


class OidcRepository:
    """Every query on accounts at identity providers."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def linked(self, issuer: str, subject: str) -> User | None:
        """Who has this account."""
        query = (
            select(User)
            .join(Account, Account.user_id == User.id)
            .where(Account.provider_id == provider_id(issuer), Account.account_id == subject)
        )
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def link(self, user: User, issuer: str, subject: str) -> None:
        """From now on this account is theirs."""
        await self._uow.execute(
            insert(Account).values(user_id=user.id, provider_id=provider_id(issuer), account_id=subject)
        )
