"""The consents that stand between a sync and blocking many tags at once."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Select, func, select, update

from polaris_common.db import Repository, UnitOfWork
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.models import TagBlockConsent


class ConsentDecision(StrEnum):
    """What became of a request."""

    APPROVED = "approved"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    """The tags to block are others by now: what the operator saw is no longer what would happen."""


class ConsentNotFound(NotFound):
    """There is no such request."""

    code, message = "consent_not_found", "There is no such request to block tags."


class ConsentAlreadyDecided(ApiError):
    """The request was decided otherwise, or other tags have taken its place."""

    status, code = 409, "consent_already_decided"
    message = "This request to block tags has been decided already, or another one has taken its place."


async def decide(uow: UnitOfWork, consent_id: int, *, approved: bool, by: UUID | None) -> TagBlockConsent:
    """Note what an operator says to a request; the next run acts on it. Safe to repeat.

    Raises:
        ConsentNotFound, ConsentAlreadyDecided: nothing has changed.
    """
    consents = TagConsentRepository(uow)
    consent = await consents.one_or_none(
        select(TagBlockConsent).where(TagBlockConsent.id == consent_id).with_for_update()
    )
    if consent is None:
        raise ConsentNotFound
    decision = ConsentDecision.APPROVED if approved else ConsentDecision.REFUSED
    if consent.decision == decision:
        return consent
    if consent.decision is not None:
        raise ConsentAlreadyDecided
    consent.decision, consent.decided_by, consent.decided_at = decision, by, func.now()
    await uow.session.flush()
    await uow.session.refresh(consent)
    return consent


@dataclass(frozen=True)
class Consents:
    """What operators have said; idTags in lower case."""

    approved: frozenset[str] = frozenset()
    """May be blocked by the next run."""
    refused: frozenset[str] = frozenset()
    """The latest decision was not to block these."""


class TagConsentRepository(Repository[TagBlockConsent]):
    """Every query on consents."""

    model = TagBlockConsent

    async def current(self) -> Consents:
        """The approvals that no run has used up, and the latest refusal."""
        approvals = await self.all(self._unused())
        latest = await self.one_or_none(
            select(TagBlockConsent)
            .where(TagBlockConsent.decision.in_((ConsentDecision.APPROVED, ConsentDecision.REFUSED)))
            .order_by(TagBlockConsent.decided_at.desc(), TagBlockConsent.id.desc())
            .limit(1)
        )
        refused = latest.id_tags if latest is not None and latest.decision == ConsentDecision.REFUSED else ()
        return Consents(_lower(tag for each in approvals for tag in each.id_tags), _lower(refused))

    async def ask(self, run_id: int | None, id_tags: Sequence[str]) -> int:
        """Ask whether exactly ``id_tags`` may be blocked; an open request for the same tags stays. The request's id."""
        pending = await self.open()
        if pending is not None:
            if _lower(pending.id_tags) == _lower(id_tags):
                return pending.id
            await self.withdraw()
        consent = TagBlockConsent(sync_run_id=run_id, id_tags=sorted(id_tags))
        self.uow.session.add(consent)
        await self.uow.session.flush()
        self.uow.emit(
            OperatorNotice(
                kind="tag_blocks_need_consent",
                severity="warn",
                source_type="system",
                source_id=str(consent.id),
                detail=str(len(id_tags)),
            )
        )
        return consent.id

    async def open(self) -> TagBlockConsent | None:
        """The request that waits for an operator."""
        return await self.one_or_none(select(TagBlockConsent).where(TagBlockConsent.decision.is_(None)))

    async def withdraw(self) -> None:
        """Close the request that waits: it no longer says what would happen."""
        await self.uow.execute(
            update(TagBlockConsent)
            .where(TagBlockConsent.decision.is_(None))
            .values(decision=ConsentDecision.SUPERSEDED, decided_at=func.now())
        )

    async def use_up(self, blocked_or_obsolete: Collection[str]) -> None:
        """Approvals all of whose tags are in ``blocked_or_obsolete`` have done their work."""
        done = _lower(blocked_or_obsolete)
        for consent in await self.all(self._unused()):
            if _lower(consent.id_tags) <= done:
                consent.applied_at = func.now()
        await self.uow.session.flush()

    @staticmethod
    def _unused() -> Select[TagBlockConsent]:
        return select(TagBlockConsent).where(
            TagBlockConsent.decision == ConsentDecision.APPROVED, TagBlockConsent.applied_at.is_(None)
        )


def _lower(id_tags: Iterable[str]) -> frozenset[str]:
    return frozenset(tag.lower() for tag in id_tags)
