"""Cars at charge boxes: what is true, whatever the platform hears of it."""

from dataclasses import dataclass, field
from datetime import datetime

from polaris_common.charging.samples import MeterValues, Sample
from polaris_sim.steve.model import Transaction
from tests.chaos.city import City


@dataclass
class Charge:
    """One transaction."""

    transaction: int
    card: str
    box: str
    connector: int
    start_wh: int
    at: datetime
    """When its register was last read."""
    wh: int
    """The register."""
    most_wh: int
    """The highest register that anybody has ever claimed, wrong readings and guesses included."""
    stopped_by: str | None = None
    stop_wh: int | None = None
    """What SteVe has."""
    samples: list[MeterValues] = field(default_factory=list)
    """Not delivered yet."""
    gone: bool = False
    """Deleted in SteVe."""
    hidden: Transaction | None = None
    """Not visible in SteVe yet."""

    @classmethod
    async def begin(cls, city: City, card: str, box: str, connector: int, start_wh: int) -> "Charge":
        """A car begins to charge."""
        at = city.clock.minute()
        started = await city.steve.start_transaction(box, connector, card, start_value=start_wh, timestamp=at)
        return cls(started.transaction_id, card, box, connector, start_wh, at, start_wh, start_wh)

    @property
    def is_open(self) -> bool:
        """SteVe shows it, and no stop."""
        return self.stopped_by is None and not self.gone and self.hidden is None

    def charge(self, wh: int, at: datetime) -> MeterValues:
        """Energy flows; what the meter says then."""
        self.wh, self.at = self.wh + wh, at
        self.most_wh = max(self.most_wh, self.wh)
        return self.sample(self.wh)

    def claim(self, more_wh: int) -> MeterValues:
        """A reading that is too high."""
        self.most_wh = max(self.most_wh, self.wh + more_wh)
        return self.sample(self.wh + more_wh)

    def sample(self, wh: int, other: Sample | None = None) -> MeterValues:
        """A meter value of this moment."""
        return MeterValues(self.transaction, self.box, self.connector, self.at, (other or Sample(str(wh)),))

    def stop(self, city: City) -> None:
        """The station stops, and knows what the register shows."""
        self.stopped_by, self.stop_wh = "station", self.wh
        assert city.steve.stop_transaction(self.transaction, self.wh, city.clock.minute()).stored

    def stop_by_hand(self, city: City, off_by: int) -> None:
        """An operator stops it in SteVe, which guesses the register."""
        self.stopped_by, self.stop_wh = "manual", max(0, self.wh + off_by)
        self.most_wh = max(self.most_wh, self.stop_wh)
        city.steve.stop_transaction(self.transaction, self.stop_wh, city.clock.minute(), actor="manual")

    def hide(self, city: City) -> None:
        """SteVe's database has not committed it yet."""
        self.hidden = city.steve.state.transactions.pop(self.transaction)
        city.steve.state.active.pop(self.transaction)

    def show(self, city: City) -> None:
        """SteVe's database has committed it."""
        if self.hidden is not None:
            state = city.steve.state
            state.transactions[self.transaction] = state.active[self.transaction] = self.hidden
            self.hidden = None
