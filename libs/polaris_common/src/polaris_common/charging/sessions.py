"""Charging sessions: what SteVe showed becomes rows, changes become events."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, text, update

from polaris_common.charging import session_events
from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.charging.samples import LAST
from polaris_common.charging.session_changes import (
    KNOWN_COLUMNS,
    Kept,
    KnownSession,
    Rules,
    changed_values,
    is_another,
    new_values,
)
from polaris_common.charging.session_statements import (
    FOLLOWED,
    FORMER,
    GIVE_UP_IDS,
    INSERT,
    MOVE_LIVE_METERS,
    MOVE_READINGS,
    OPEN_SESSIONS,
    OWNERLESS_TAGS,
    SPANS,
    STOP_EXPECTED,
    UPDATE,
    VANISH,
    as_arrays,
)
from polaris_common.db import Repository
from polaris_common.domain.session_state import Limits, OpenSession, RegisterSpan, State, zombie
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.identity.principals import Device, Driver, Operator, Principal
from polaris_common.models import ChargingSession
from polaris_common.steve.wire import SteveTransaction


@dataclass
class Applied:
    """What observations changed; ``held`` counts the sessions among them that wait for a person."""

    new: int = 0
    changed: int = 0
    held: int = 0
    connectors: set[tuple[str, int]] = field(default_factory=set)
    """Charge boxes and connectors on which something began or changed."""
    latest: dict[str, datetime] = field(default_factory=dict)
    """When something last happened on each of those charge boxes, by the stations' clocks."""
    kept: list[tuple[int, Kept]] = field(default_factory=list)
    """SteVe's ids whose new values were not taken over, and why."""
    reused: set[int] = field(default_factory=set)
    """SteVe's ids that stand for another charge than before."""

    def add(self, more: "Applied") -> None:
        """Count another batch."""
        self.new, self.changed, self.held = self.new + more.new, self.changed + more.changed, self.held + more.held
        self.connectors |= more.connectors
        self.kept += more.kept
        self.reused |= more.reused


class ChargingSessionRepository(Repository[ChargingSession]):
    """Every query on charging sessions."""

    model = ChargingSession

    def readable_by(self, principal: Principal) -> Select[ChargingSession]:
        """The sessions that ``principal`` may see, newest start first."""
        query = select(ChargingSession).order_by(ChargingSession.started_at.desc(), ChargingSession.id.desc())
        match principal:
            case Operator():
                return query
            case Driver(user_id=user_id) | Device(owner_user_id=user_id):
                return query.where(ChargingSession.user_id == user_id)

    async def followed_ids(self, *, closed_manually: timedelta = timedelta()) -> set[int]:
        """The SteVe ids of sessions that may still change: without a stop, or with a manual one that may be replaced.

        ``closed_manually``: also those that a manual stop has settled, for so long after.
        """
        rows = await self.uow.execute(FOLLOWED, {"closed_manually": closed_manually})
        return set(rows.scalars())

    async def stop_expected(self, within: timedelta) -> bool:
        """Whether a session's last samples have arrived lately, but its stop has not."""
        return bool((await self.uow.execute(STOP_EXPECTED, {"within": within, "last": LAST})).scalar_one())

    async def highest_transaction_id(self) -> int:
        """The highest SteVe id we know that SteVe still has, as far as we know; 0 when there is none."""
        query = select(func.max(ChargingSession.steve_transaction_id)).where(ChargingSession.vanished_at.is_(None))
        return await self.uow.session.scalar(query) or 0

    async def highest_transaction_id_ever(self) -> int:
        """The highest SteVe id we know, in SteVe still or not; 0 when there is none."""
        highest = await self.uow.session.scalar(select(func.max(ChargingSession.steve_transaction_id)))
        return max(highest or 0, 0)

    async def apply(
        self, seen: Sequence[SteveTransaction], *, limits: Limits | None = None, history: bool = False
    ) -> Applied:
        """Bring our rows to what SteVe shows; emit an event for each change that people care about.

        Rows that did not change are compared, neither locked nor written. ``history``: the first look at an old SteVe,
        where sessions that ended before we knew them are no news to anybody.
        """
        applied = Applied()
        known = await self._known([transaction.id for transaction in seen])
        rules = await self._rules(seen, known, limits or Limits())
        owners = await self._owners(seen, known)
        fresh: list[dict[str, Any]] = []
        candidates: list[SteveTransaction] = []
        others: list[SteveTransaction] = []
        for transaction in seen:
            row, owner = known.get(transaction.id), owners.get(transaction.id_tag.lower())
            if row is None:
                fresh.append(new_values(transaction, owner, rules))
            elif (decision := changed_values(row, transaction, owner, rules)) is Kept.SAME:
                applied.held += row.state == State.QUARANTINED
            elif decision is Kept.ANOTHER:
                others.append(transaction)
            elif isinstance(decision, Kept):
                applied.held += 1
                applied.kept.append((transaction.id, decision))
            else:
                candidates.append(transaction)
        await self._change(candidates, owners, rules, applied)
        fresh += await self._replace(others, owners, rules, applied)
        await self._insert(fresh, applied, history=history)
        return applied

    async def present_ids(self, first: int, last: int) -> set[int]:
        """Which SteVe ids from ``first`` to ``last`` we have and believe to be in SteVe still."""
        query = select(ChargingSession.steve_transaction_id).where(
            ChargingSession.steve_transaction_id.between(first, last), ChargingSession.vanished_at.is_(None)
        )
        return set((await self.uow.session.execute(query)).scalars())

    async def known_stops(self, ids: Collection[int]) -> dict[int, KnownSession]:
        """The sessions with these SteVe ids, to be compared with a report."""
        return await self._known(list(ids))

    async def vanish(self, ids: Collection[int]) -> int:
        """SteVe no longer has these: our history stays, and what was open waits for a person; the number marked.

        A manual stop that nothing can replace any more is final.
        """
        rows = (await self.uow.execute(VANISH, {"ids": list(ids)})).all()
        for row in rows:
            if row.was != row.state:
                self._emit_end(KnownSession._make(row[1:]))
        return len(rows)

    async def find_zombies(self, *, silent_after: timedelta) -> int:
        """Set open sessions that will not end by themselves aside, and those that live again back; the number moved."""
        now = (await self.uow.execute(select(func.now()))).scalar_one()
        moved: list[KnownSession] = []
        for row in (await self.uow.execute(OPEN_SESSIONS)).all():
            session = KnownSession._make(row[: len(KnownSession._fields)])
            heard = OpenSession(row.known_at, row.last_reading_at, row.superseded)
            reason = zombie(heard, now=now, silent_after=silent_after)
            if session.quarantine_reason != reason:
                state = State.OPEN if reason is None else State.QUARANTINED
                moved.append(session.changed({"state": state.value, "quarantine_reason": reason and reason.value}))
        await self._update(moved)
        for session in moved:
            self._emit_end(session)
        return len(moved)

    async def locked(self, session_id: int) -> KnownSession | None:
        """One session, held until this unit of work ends."""
        query = f"SELECT {KNOWN_COLUMNS} FROM charging_sessions WHERE id = :id FOR UPDATE"  # noqa: S608 - our own names
        row = (await self.uow.execute(text(query), {"id": session_id})).one_or_none()
        return None if row is None else KnownSession._make(row)

    async def settle_by_hand(self, session: KnownSession) -> None:
        """Write what a person has decided about a locked session, and make billing look."""
        await self._update([session])
        self._emit_end(session)

    async def ownerless_id_tags(self) -> list[str]:
        """The idTags of sessions that nobody answers for yet."""
        return list((await self.uow.execute(OWNERLESS_TAGS)).scalars())

    async def attach(self, id_tag: str, owner: MappingValue) -> int:
        """Give the ownerless sessions of ``id_tag`` to ``owner`` and make billing look again; the number touched."""
        return await self.uow.write(
            update(ChargingSession)
            .where(ChargingSession.id_tag == id_tag, ChargingSession.tag_mapping_id.is_(None))
            .values(tag_mapping_id=owner.id, user_id=owner.user_id, revision=ChargingSession.revision + 1)
            .execution_options(synchronize_session=False)
        )

    async def mark_billed(self, revisions: Mapping[int, int]) -> None:
        """Billing has looked at these sessions (id → revision)."""
        if revisions:
            await self.uow.execute(
                text(
                    "UPDATE charging_sessions AS s SET billed_revision = v.revision "
                    "FROM unnest(CAST(:ids AS bigint[]), CAST(:revisions AS bigint[])) AS v(id, revision) "
                    "WHERE s.id = v.id AND s.billed_revision < v.revision"
                ),
                {"ids": list(revisions), "revisions": list(revisions.values())},
            )

    async def _known(self, ids: list[int], *, lock: bool = False) -> dict[int, KnownSession]:
        query = (
            f"SELECT {KNOWN_COLUMNS} FROM charging_sessions "  # noqa: S608 - our own names
            "WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[]))"
        )
        rows = await self.uow.execute(text(query + (" ORDER BY id FOR UPDATE" if lock else "")), {"ids": ids})
        return {row.steve_transaction_id: KnownSession._make(row) for row in rows}

    async def _rules(
        self, seen: Sequence[SteveTransaction], known: Mapping[int, KnownSession], limits: Limits
    ) -> Rules:
        """Readings are asked for only where a stop is still to be judged."""
        judged = [
            transaction.id
            for transaction in seen
            if transaction.stop_timestamp is not None
            and (transaction.id not in known or known[transaction.id].state != State.SETTLED)
        ]
        now: datetime = (await self.uow.execute(select(func.now()))).scalar_one()
        spans = (await self.uow.execute(SPANS, {"ids": judged})).all() if judged else []
        return Rules(now, limits, {row[0]: RegisterSpan(row.first_wh, row.lowest_wh) for row in spans})

    async def _owners(
        self, seen: Iterable[SteveTransaction], known: Mapping[int, KnownSession]
    ) -> Mapping[str, MappingValue | None]:
        unowned = {
            transaction.id_tag
            for transaction in seen
            if transaction.id not in known
            or known[transaction.id].tag_mapping_id is None
            or is_another(known[transaction.id], transaction)
        }
        return await TagMappingRepository(self.uow).owners(unowned) if unowned else {}

    async def _insert(self, fresh: list[dict[str, Any]], applied: Applied, *, history: bool) -> None:
        if not fresh:
            return
        ids = (await self.uow.execute(INSERT, as_arrays(fresh))).all()
        by_steve_id = {row.steve_transaction_id: row.id for row in ids}
        for values in fresh:
            if values["steve_transaction_id"] not in by_steve_id:
                continue
            session = KnownSession(id=by_steve_id[values["steve_transaction_id"]], **values)
            applied.new += 1
            _note(applied, session)
            if not history or session.stopped_at is None:
                self.uow.emit(session_events.tag_seen(session))
                self.uow.emit(session_events.started(session))
                self._emit_end(session)

    async def _change(
        self,
        candidates: Sequence[SteveTransaction],
        owners: Mapping[str, MappingValue | None],
        rules: Rules,
        applied: Applied,
    ) -> None:
        """Decide again under a lock, then write."""
        if not candidates:
            return
        locked = await self._known([transaction.id for transaction in candidates], lock=True)
        changed: list[KnownSession] = []
        for transaction in candidates:
            was = locked.get(transaction.id)
            if was is None:
                continue  # another worker has just given the id to another charge
            values = changed_values(was, transaction, owners.get(transaction.id_tag.lower()), rules)
            if isinstance(values, Kept):
                continue
            session = was.changed(values)
            changed.append(session)
            _note(applied, session)
            if (was.state, was.stop_wh) != (session.state, session.stop_wh):
                self._emit_end(session)
        await self._update(changed)
        applied.changed += len(changed)

    async def _replace(
        self,
        others: Sequence[SteveTransaction],
        owners: Mapping[str, MappingValue | None],
        rules: Rules,
        applied: Applied,
    ) -> list[dict[str, Any]]:
        """Make room for charges under ids that SteVe has used again; their columns.

        A charge that has already lost its id to another one does not come back: SteVe shows one and the other in turn
        (two workers with two SteVes?), and whatever we made of that would be billed twice.
        """
        if not others:
            return []
        locked = await self._known([transaction.id for transaction in others], lock=True)
        leaving: list[SteveTransaction] = []
        former: dict[int, list[Any]] = {}
        for row in await self.uow.execute(FORMER, {"ids": list(locked)}):
            former.setdefault(row.transaction_id, []).append(row)
        for transaction in others:
            known = locked.get(transaction.id)
            if known is None or not is_another(known, transaction):
                continue  # another worker has been here
            if all(is_another(each, transaction) for each in former.get(transaction.id, ())):
                leaving.append(transaction)
            else:
                applied.held += 1
                applied.kept.append((transaction.id, Kept.ANOTHER))
        if not leaving:
            return []
        ids = [transaction.id for transaction in leaving]
        values = {"ids": ids, "starts": [transaction.start_timestamp for transaction in leaving]}
        for statement in (MOVE_READINGS, MOVE_LIVE_METERS):
            await self.uow.execute(statement, values)
        await self.vanish(ids)
        await self.uow.execute(GIVE_UP_IDS, values)
        applied.reused |= set(ids)
        rules = await self._rules(leaving, {}, rules.limits)
        return [new_values(each, owners.get(each.id_tag.lower()), rules) for each in leaving]

    async def _update(self, changed: Sequence[KnownSession]) -> None:
        if changed:
            await self.uow.execute(UPDATE, as_arrays([session._asdict() for session in changed]))

    def _emit_end(self, session: KnownSession) -> None:
        event = session_events.ended(session)
        if event is not None:
            self.uow.emit(event)


def _note(applied: Applied, session: KnownSession) -> None:
    applied.connectors.add((session.charge_box_id, session.connector_id))
    applied.held += session.state == State.QUARANTINED
    at = session.stopped_at or session.started_at
    applied.latest[session.charge_box_id] = max(at, applied.latest.get(session.charge_box_id, at))
