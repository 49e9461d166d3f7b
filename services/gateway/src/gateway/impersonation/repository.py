"""Whom an operator may view, and the record of what they viewed."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import UnitOfWork
from polaris_common.models import ImpersonationAudit, Role, User


class ImpersonationRepository:
    """Every query on views of drivers' accounts."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def customer(self, user_id: UUID) -> User | None:
        """A driver; None when there is none with this id."""
        query = select(User).where(User.id == user_id, User.role == Role.CUSTOMER)
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def viewed(self, admin_id: UUID, customer_id: UUID, *, route: str, method: str) -> bool:
        """Note a view; True when it is this minute's first of this route."""
        statement = (
            insert(ImpersonationAudit)
            .values(
                admin_user_id=admin_id,
                customer_user_id=customer_id,
                route=route,
                method=method,
                minute=func.date_trunc("minute", func.now()),
            )
            .on_conflict_do_nothing(constraint="impersonation_audit_minute_key")
        )
        return await self._uow.write(statement) == 1
