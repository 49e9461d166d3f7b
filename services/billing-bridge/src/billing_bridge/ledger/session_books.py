"""One session's books: what is sold so far, what must be added now, and who pays for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from polaris_common.charging.meters import Reading
from polaris_common.domain.billing_days import midnights
from polaris_common.domain.corrections import Correction, Layered, corrections
from polaris_common.domain.payer import (
    Decision,
    Held,
    HoldReason,
    Never,
    NeverReason,
    Pays,
    SubscriptionValue,
    charged_to,
    decide,
)
from polaris_common.domain.slicing import Cut, Point, SlicePolicy, cut
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.models import SessionState


class DueSession(NamedTuple):
    """What billing looks at of a charging session."""

    id: int
    steve_transaction_id: int
    charge_box_id: str
    connector_id: int
    id_tag: str
    state: str
    started_at: datetime
    start_wh: int | None
    stopped_at: datetime | None
    stop_wh: int | None
    tag_mapping_id: int | None
    revision: int
    billed_revision: int
    earlier_charges: int
    """How many charges SteVe had under the same transaction id before."""

    @property
    def is_new(self) -> bool:
        """Whether billing has never looked at it: then nothing is decided about it, and no slice is cut."""
        return self.billed_revision == 0

    def with_slices(self) -> "DueSession":
        """The same session, no longer new: it was billed before this copy of the database knew it."""
        return self._replace(billed_revision=self.revision)


@dataclass(frozen=True)
class Addition:
    """A slice to be added, with who pays for it."""

    cut: Cut
    layer: int
    pays: Pays


@dataclass
class SessionBooks:
    """What is known about one session, and what follows from it."""

    session: DueSession
    slices: Sequence[Layered]
    readings: Sequence[Reading]
    owner: MappingValue | None
    subscriptions: Sequence[SubscriptionValue]
    """The owner's."""
    payers: Mapping[str, Sequence[SubscriptionValue]]
    """By external id, among them those that have paid for the slices so far."""
    lago_mirrored: bool
    zone: str
    now: datetime
    policy: SlicePolicy
    additions: list[Addition] = field(default_factory=list)

    @property
    def stop(self) -> Point | None:
        """The final register, once the session is settled."""
        session = self.session
        if session.state != SessionState.SETTLED or session.stopped_at is None or session.stop_wh is None:
            return None
        return Point(session.stopped_at, session.stop_wh)

    def decide(self) -> Decision:
        """Fill ``additions`` as far as somebody pays; the last decision taken says where the session stands."""
        session, stop = self.session, self.stop
        if session.state == SessionState.QUARANTINED or session.start_wh is None:
            return Held(HoldReason.IMPLAUSIBLE)
        if stop is not None and stop.wh == session.start_wh and not self.slices:
            return Never(NeverReason.ZERO_ENERGY)
        begin = self._begin(session.start_wh)
        decision: Decision | None = None
        for each, layer, below in self._wanted(begin, session.start_wh, stop):
            refund = self._refund(below) if layer % 2 else None
            decision = refund or self._payer(each.usage_at)
            if not isinstance(decision, Pays):
                return decision
            self.additions.append(Addition(each, layer, decision))
        if decision is None and stop is not None and self.slices:
            last = self.slices[-1]
            return Pays(last.subscription_external_id, last.ended_at, late=False)  # all sold, whoever pays by now
        return decision or self._payer(begin.at)

    def _wanted(self, begin: Point, start_wh: int, stop: Point | None) -> Iterator[tuple[Cut, int, Layered | None]]:
        for hole in self._holes(start_wh, stop):
            yield hole, 0, None
        if stop is not None:
            for each in corrections(self.slices, start_wh, stop.wh):
                yield _as_cut(each), each.layer, each.below
        readings = [Point(reading.sampled_at, reading.wh) for reading in self.readings]
        for piece in cut(begin, readings, stop, self.policy, self._boundaries(begin, readings, stop)):
            yield piece, 0, None

    def _begin(self, start_wh: int) -> Point:
        """The high-water mark of what was ever sliced, or the session's start."""
        if not self.slices:
            return Point(self.session.started_at, start_wh)
        highest = max((each for each in self.slices if each.layer == 0), key=lambda each: each.to_wh, default=None)
        if highest is None:
            return Point(self.session.started_at, start_wh)
        return Point(highest.ended_at, highest.to_wh)

    def _holes(self, start_wh: int, stop: Point | None) -> Iterator[Cut]:
        """Energy below the high-water mark that was never sold: its slices were lost with a database."""
        low = Point(self.session.started_at, start_wh)
        for each in sorted((each for each in self.slices if each.layer == 0), key=lambda each: each.from_wh):
            to_wh = each.from_wh if stop is None else min(each.from_wh, stop.wh)
            if low.wh < to_wh:
                yield Cut(low.wh, to_wh, low.at, max(low.at, each.started_at))
            if low.wh < each.to_wh:
                low = Point(each.ended_at, each.to_wh)

    def _boundaries(self, begin: Point, readings: Sequence[Point], stop: Point | None) -> list[datetime]:
        points = readings if stop is None else [*readings, stop]
        end = max([begin.at, *(point.at for point in points)])
        starts = [each.started_at for each in self.subscriptions if each.started_at is not None]
        return [*midnights(begin.at, end, self.zone), *(each for each in starts if begin.at < each < end)]

    def _payer(self, usage_at: datetime) -> Decision:
        return decide(
            self.owner,
            self.subscriptions,
            lago_mirrored=self.lago_mirrored,
            usage_at=usage_at,
            now=self.now,
            unsold_since=None if self.slices else self.session.started_at,
        )

    def _refund(self, below: Layered | None) -> Pays | None:
        """Energy is taken back from the subscription that paid, whoever pays now; None when that has ended."""
        paid = self.payers.get(below.subscription_external_id, ()) if below is not None else ()
        payer = next((each for each in paid if each.status == "active"), None)
        if payer is None or below is None:
            return None
        return charged_to(payer, usage_at=below.ended_at, now=self.now)


def _as_cut(correction: Correction) -> Cut:
    below = correction.below
    return Cut(correction.from_wh, correction.to_wh, below.started_at, below.ended_at, final=True)
