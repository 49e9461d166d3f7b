"""What an observation of SteVe changes about a session we know, decided without touching the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from polaris_common.domain.session_state import (
    ZOMBIES,
    Limits,
    Observation,
    RegisterSpan,
    State,
    Verdict,
    judge,
    read_register,
)
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.steve.wire import SteveTransaction

MANUAL_STOP_SETTLES_AFTER = timedelta(minutes=15)
"""How long a manual stop waits for the station's own stop, which may carry another value."""

SAME_START = timedelta(seconds=1)
"""Versions of SteVe show a time more or less exactly."""
ZONES_APART = timedelta(hours=26)
ZONE_STEP = timedelta(minutes=15)
"""How far apart, and in which steps, the world's time zones are."""

DERIVED = ("state", "quarantine_reason", "start_wh", "stop_wh", "stopped_at", "stop_reason", "stop_actor")
"""The columns that SteVe's answer decides."""


class KnownSession(NamedTuple):
    """The columns of a session that a comparison needs, in the order of ``KNOWN_COLUMNS``."""

    id: int
    steve_transaction_id: int
    charge_box_id: str
    connector_id: int
    id_tag: str
    started_at: datetime
    state: str
    quarantine_reason: str | None
    start_wh: int | None
    stop_wh: int | None
    stopped_at: datetime | None
    stop_reason: str | None
    stop_actor: str | None
    settle_after: datetime | None
    tag_mapping_id: int | None
    user_id: UUID | None
    vanished_at: datetime | None

    def changed(self, values: Mapping[str, Any]) -> "KnownSession":
        """The session with other values."""
        return self._replace(**values)


KNOWN_COLUMNS = ", ".join(KnownSession._fields)


class Kept(Enum):
    """Why an observation changes nothing."""

    SAME = "same"
    NOT_BELIEVED = "not_believed"
    """A settled session keeps its value: what SteVe shows now cannot be believed."""
    ANOTHER = "another"
    """SteVe has used the id again for something else (its database was replaced, or is an older one)."""


@dataclass(frozen=True)
class Rules:
    """What decides besides the observation."""

    now: datetime
    """The database's."""
    limits: Limits
    spans: Mapping[int, RegisterSpan]
    """What the readings of transactions say, by SteVe's id."""

    def verdict(self, transaction: SteveTransaction, *, settled_by_time: bool = False) -> Verdict:
        """The state that SteVe's answer supports."""
        seen = Observation(
            transaction.start_value,
            transaction.stop_timestamp,
            transaction.stop_value,
            transaction.stop_event_actor,
            transaction.start_timestamp,
            self.spans.get(transaction.id),
        )
        return judge(seen, settled_by_time=settled_by_time, limits=self.limits)


def new_values(transaction: SteveTransaction, owner: MappingValue | None, rules: Rules) -> dict[str, Any]:
    """The columns of a session that we did not know."""
    verdict = rules.verdict(transaction)
    return {
        "steve_transaction_id": transaction.id,
        "charge_box_id": transaction.charge_box_id,
        "connector_id": transaction.connector_id,
        "id_tag": transaction.id_tag,
        "started_at": transaction.start_timestamp,
        "settle_after": rules.now + MANUAL_STOP_SETTLES_AFTER if verdict.state is State.STOPPED else None,
        "tag_mapping_id": None if owner is None else owner.id,
        "user_id": None if owner is None else owner.user_id,
        "vanished_at": None,
        **_derived(transaction, verdict),
    }


def changed_values(
    known: KnownSession, transaction: SteveTransaction, owner: MappingValue | None, rules: Rules
) -> dict[str, Any] | Kept:
    """The columns that an observation gives a session we know.

    A settled session changes only when SteVe's values do, and never goes back.
    """
    if is_another(known, transaction):
        return Kept.ANOTHER
    settled_by_time = known.settle_after is not None and known.settle_after <= rules.now
    verdict = rules.verdict(transaction, settled_by_time=settled_by_time)
    if known.state == State.SETTLED and verdict.state is not State.SETTLED:
        return Kept.NOT_BELIEVED if verdict.state is State.QUARANTINED else Kept.SAME
    values = _derived(transaction, verdict) | {"vanished_at": None, "settle_after": known.settle_after}
    if verdict.state is State.OPEN and known.state == State.QUARANTINED and known.quarantine_reason in ZOMBIES:
        values |= {"state": known.state, "quarantine_reason": known.quarantine_reason}
    if known.tag_mapping_id is None and owner is not None:
        values |= {"tag_mapping_id": owner.id, "user_id": owner.user_id}
    if verdict.state is State.STOPPED and (known.stopped_at, known.stop_wh) != (values["stopped_at"], verdict.stop_wh):
        values["settle_after"] = rules.now + MANUAL_STOP_SETTLES_AFTER
    changed = any(getattr(known, name) != value for name, value in values.items())
    return values if changed else Kept.SAME


def _derived(transaction: SteveTransaction, verdict: Verdict) -> dict[str, Any]:
    reason = verdict.quarantine_reason
    return {
        "state": verdict.state.value,
        "quarantine_reason": None if reason is None else reason.value,
        "start_wh": verdict.start_wh,
        "stop_wh": verdict.stop_wh,
        "stopped_at": transaction.stop_timestamp,
        "stop_reason": transaction.stop_reason,
        "stop_actor": transaction.stop_event_actor,
    }


class Identity(Protocol):
    """What never changes about a transaction, as we keep it."""

    @property
    def charge_box_id(self) -> str: ...
    @property
    def connector_id(self) -> int: ...
    @property
    def id_tag(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def start_wh(self) -> int | None: ...


def is_another(known: Identity, transaction: SteveTransaction) -> bool:
    """Whether SteVe shows another charge under the id of one that we know.

    A charge box may be renamed, and a SteVe whose time zone was changed shows every start by some quarters of an hour
    off (steve.md §1.3); whatever else differs is another charge. When in doubt it is the same: one charge taken for two
    would be billed twice.
    """
    apart = abs(known.started_at - transaction.start_timestamp)
    if apart < SAME_START:
        return False
    same_charge = (
        known.charge_box_id.casefold() == transaction.charge_box_id.casefold()
        and known.connector_id == transaction.connector_id
        and known.id_tag.casefold() == transaction.id_tag.casefold()
        and known.start_wh == read_register(transaction.start_value)
    )
    return not (same_charge and apart <= ZONES_APART and apart % ZONE_STEP < SAME_START)
