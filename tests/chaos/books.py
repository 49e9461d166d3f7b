"""What must hold in every example: at every moment, and when everything is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.chaos.city import City, content

_SESSIONS = """
SELECT s.steve_transaction_id AS transaction, s.id, s.id_tag, s.state, s.quarantine_reason, s.start_wh, s.stop_wh,
       s.billed_revision = s.revision AS looked_at, b.status AS billing, b.reason, b.billed_wh,
       coalesce((SELECT max(to_wh) FROM energy_slices WHERE session_id = s.id AND layer = 0), 0) AS high
FROM charging_sessions s LEFT JOIN session_billing b ON b.session_id = s.id
"""

_EVENTS = "SELECT transaction_id, body, status FROM lago_events"

_CUTS = """
SELECT a.id, s.steve_transaction_id AS transaction, a.started_at, a.ended_at, a.subscription_external_id AS subscription
FROM energy_slices a JOIN charging_sessions s ON s.id = a.session_id WHERE a.layer = 0
"""

_STARTS = """
SELECT lago_id, external_id AS subscription, external_customer_id AS customer, started_at AS at,
       status = 'active' AS active, greatest(started_at, period_started_at) AS open_since
FROM lago_subscriptions WHERE deleted_at IS NULL AND started_at IS NOT NULL
"""

_COUNTED = "SELECT value FROM billing_counters WHERE name = 'events_delivered'"

_RUNNING = "SELECT FROM sync_runs WHERE status = 'running'"


CLOCKS_DIFFER_BY = timedelta(hours=1)
"""At most, in this city."""


@dataclass(frozen=True)
class Event:
    """A Lago event of the ledger."""

    body: str
    status: str


@dataclass(frozen=True)
class Books:
    """Our books and Lago's at one moment."""

    sessions: Mapping[int, Any]
    """By SteVe's transaction id."""
    events: Mapping[str, Event]
    """By Lago's transaction id."""
    accepted_wh: Mapping[int, int]
    """What Lago has accepted of each transaction."""
    cuts: Mapping[int, Any]
    """The slices that sell energy for the first time, by id."""
    starts: Mapping[str, Any]
    """When subscriptions began, by Lago's id."""
    running: int
    """Sync runs under way."""
    counted: int
    """Events that the ledger has counted as delivered."""

    @classmethod
    async def read(cls, city: City) -> "Books":
        """Read them."""
        return cls(
            sessions={row["transaction"]: row for row in await city.rows(_SESSIONS)},
            events={row["transaction_id"]: Event(row["body"], row["status"]) for row in await city.rows(_EVENTS)},
            accepted_wh=city.accepted_wh(),
            cuts={row["id"]: row for row in await city.rows(_CUTS)},
            starts={row["lago_id"]: row for row in await city.rows(_STARTS)},
            running=len(await city.rows(_RUNNING)),
            counted=sum(row["value"] for row in await city.rows(_COUNTED)),
        )


@dataclass
class Auditor:
    """Compares the books with what they were before, and with Lago."""

    city: City
    before: Books = field(default_factory=lambda: Books({}, {}, {}, {}, {}, 0, 0))
    _read_of_lago: int = 0
    _arrived: set[str] = field(default_factory=set)
    """The names of the events that Lago has."""

    async def audit(self, most_wh: Mapping[int, int]) -> Books:
        """Look at everything; ``most_wh``: the most energy that anybody has ever claimed for each transaction."""
        books = await Books.read(self.city)
        self._nothing_is_undone(books)
        self._lago_has_what_the_ledger_says(books)
        self._no_slice_spans_the_start_of_a_subscription(books)
        self._nothing_is_sold_into_a_closed_period(books)
        assert books.running <= 1, f"{books.running} runs at once"
        delivered = sum(event.status == "delivered" for event in books.events.values())
        assert books.counted == delivered, f"{books.counted} events are counted as delivered, {delivered} are"
        assert not self.city.refused(), "the database had to refuse what the ledger wanted to write"
        for transaction, wh in books.accepted_wh.items():
            assert 0 <= wh <= most_wh[transaction], f"Lago has {wh} Wh of transaction {transaction}"
        for transaction, session in books.sessions.items():
            self._every_decision_has_its_reason(transaction, session)
        self.before = books
        return books

    def _nothing_is_undone(self, books: Books) -> None:
        for transaction, was in self.before.sessions.items():
            now = books.sessions[transaction]
            assert was["state"] != "settled" or now["state"] == "settled", f"{transaction} is no longer settled"
            assert now["high"] >= was["high"], f"the high-water mark of {transaction} has fallen"
        for name, event in self.before.events.items():
            same = books.events[name].body == event.body
            assert same or name not in self._arrived, f"the text of {name} has changed, and Lago has it"
            assert event.status != "delivered" or books.events[name].status == "delivered", f"{name} was delivered"

    def _lago_has_what_the_ledger_says(self, books: Books) -> None:
        raw = self.city.lago.organization.events.raw
        for each in raw[self._read_of_lago :]:
            name = each.transaction_id
            text = (name, each.external_subscription_id, each.code, each.timestamp, each.properties)
            assert name in books.events, f"Lago has {name}, which the ledger does not know"
            assert content(books.events[name].body) == text, f"Lago has another {name} than the ledger"
            self._arrived.add(name)
        self._read_of_lago = len(raw)
        for name, event in books.events.items():
            assert event.status != "quarantined", f"{name} was given up"
            assert event.status != "delivered" or name in self._arrived, f"{name} never reached Lago"

    def _no_slice_spans_the_start_of_a_subscription(self, books: Books) -> None:
        """As far as the mirror knew of it before the slice was cut: what was used before is for the old price."""
        known = [start for lago_id, start in self.before.starts.items() if books.starts.get(lago_id) == start]
        customers = {start["subscription"]: start["customer"] for start in books.starts.values()}
        for cut in (cut for cut_id, cut in books.cuts.items() if cut_id not in self.before.cuts):
            for start in known:
                spans = cut["started_at"] < start["at"] < cut["ended_at"]
                assert not spans or start["customer"] != customers.get(cut["subscription"]), (
                    f"a slice of {cut['transaction']} spans the start of {start['subscription']}"
                )

    def _nothing_is_sold_into_a_closed_period(self, books: Books) -> None:
        """As far as the mirror knew of it before and after: what Lago has billed already takes no more energy."""
        open_since = {
            start["subscription"]: start["open_since"] - CLOCKS_DIFFER_BY
            for lago_id, start in books.starts.items()
            if start["active"] and self.before.starts.get(lago_id) == start
        }
        for name in books.events.keys() - self.before.events.keys():
            _, subscription, _, stamp, _ = content(books.events[name].body)
            since = open_since.get(subscription)
            assert since is None or stamp >= since.timestamp() * 1_000_000, f"{name} is for a period that is closed"

    def _every_decision_has_its_reason(self, transaction: int, session: Any) -> None:
        if session["looked_at"]:
            assert session["billing"] is not None, f"nothing was decided about {transaction}"
        if session["billing"] in ("held", "not_billable"):
            assert session["reason"], f"{transaction} is {session['billing']} without a reason"
        if session["billing"] == "billed":
            assert session["state"] == "settled", f"{transaction} is billed and not settled"
            if session["looked_at"]:
                sold, metered = session["billed_wh"], session["stop_wh"] - session["start_wh"]
                assert sold == metered, f"{transaction} is billed with {sold} of {metered} Wh"
