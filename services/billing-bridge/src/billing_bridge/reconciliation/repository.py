"""Open and resolved differences between the books."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.books.three_way import Difference, Kind
from polaris_common.db import Repository
from polaris_common.models import ReconciliationFinding

CHECKED_KINDS = tuple(Kind)
"""What a check finds and may declare resolved; other kinds come from Lago's webhooks."""


class FindingRepository(Repository[ReconciliationFinding]):
    """Every query on findings."""

    model = ReconciliationFinding

    async def open_subjects(self) -> set[tuple[str, str]]:
        """(kind, subject) of the open findings that a check can resolve."""
        query = select(ReconciliationFinding.kind, ReconciliationFinding.subject).where(
            ReconciliationFinding.resolved_at.is_(None), ReconciliationFinding.kind.in_(CHECKED_KINDS)
        )
        return {(row.kind, row.subject) for row in await self.uow.execute(query)}

    async def record(self, differences: Sequence[Difference]) -> None:
        """Open what is new, refresh what is still there."""
        for each in differences:
            statement = insert(ReconciliationFinding).values(
                kind=each.kind.value,
                subject=each.subject,
                subscription_external_id=each.subscription,
                session_id=each.session_id,
                difference_wh=each.difference_wh,
                transaction_ids=list(each.transaction_ids),
                event_count=each.event_count,
            )
            changes = {name: statement.excluded[name] for name in ("difference_wh", "transaction_ids", "event_count")}
            await self.uow.execute(
                statement.on_conflict_do_update(
                    index_elements=["kind", "subject"],
                    index_where=ReconciliationFinding.resolved_at.is_(None),
                    set_={**changes, "seen_at": func.now()},
                )
            )

    async def resolve(self, kind: str, subject: str) -> None:
        """The difference is gone."""
        await self.uow.execute(
            update(ReconciliationFinding)
            .where(
                ReconciliationFinding.kind == kind,
                ReconciliationFinding.subject == subject,
                ReconciliationFinding.resolved_at.is_(None),
            )
            .values(resolved_at=func.now())
        )
