"""Cars that come, charge, leave and make room for the next one."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from polaris_sim.fleet.curve import CAR_MODELS, CarModel, charging_power_w
from polaris_sim.steve.model import ENERGY, AuthStatus
from polaris_sim.steve.simulator import SteveSimulator
from polaris_sim.steve.station import Station


@dataclass(frozen=True)
class FleetBox:
    """A charge box of the fleet; ``max_w`` is per connector."""

    charge_box_id: str
    connectors: int = 2
    max_w: float = 22_000
    dc: bool = False
    description: str | None = None


DEFAULT_BOXES = (
    FleetBox("CB-GARAGE-1", description="Garage, ground floor"),
    FleetBox("CB-GARAGE-2", max_w=11_000, description="Garage, first floor"),
    FleetBox("CB-YARD-1", description="Yard"),
    FleetBox("CB-FAST-1", max_w=150_000, dc=True, description="Fast charger at the gate"),
)


@dataclass(frozen=True)
class CarState:
    """One car that charges now, for display."""

    charge_box_id: str
    connector_id: int
    id_tag: str
    driver: str
    car: str
    transaction_id: int
    state_of_charge: float
    """Percent."""
    power_w: float
    session_wh: int
    register_wh: int
    since: datetime


@dataclass
class _Driver:
    id_tag: str
    name: str
    car: CarModel
    charging: bool = False


@dataclass
class _Session:
    transaction_id: int
    driver: _Driver
    charge: float
    since: datetime
    leaves_at: datetime
    start_wh: int
    power_w: float = 0.0


@dataclass
class _Connector:
    """One connector: its register goes on over sessions."""

    box: FleetBox
    connector_id: int
    register_wh: float
    free_until: datetime
    session: _Session | None = None
    starting: bool = False
    stepped_at: datetime | None = None


class Fleet:
    """Keeps several cars charging at once; plays the stations of its charge boxes.

    Adds its charge boxes and tags to the simulator if they are missing. All times are the simulator's clock;
    ``speed`` lets that clock run faster than real time. Other charge boxes keep the behaviour they had.
    """

    def __init__(
        self,
        simulator: SteveSimulator,
        *,
        charge_boxes: Sequence[FleetBox] = DEFAULT_BOXES,
        drivers: Sequence[tuple[str, str]] = (),
        sample_seconds: float = 5.0,
        seed: int = 0,
        speed: float = 1.0,
    ) -> None:
        self._simulator, self._others = simulator, simulator.station
        self._dice = random.Random(seed)
        self._sample_seconds, self._speed = sample_seconds, speed
        now = simulator.clock.now()
        self._drivers = [_Driver(id_tag, name, self._dice.choice(CAR_MODELS)) for id_tag, name in drivers]
        self._connectors = [
            _Connector(box, number, self._dice.randrange(10_000, 9_000_000), now + self._pause(first=True))
            for box in charge_boxes
            for number in range(1, box.connectors + 1)
        ]
        for box in charge_boxes:
            if simulator.state.charge_box(box.charge_box_id) is None:
                simulator.add_charge_box(box.charge_box_id, connectors=box.connectors, description=box.description)
        for driver in self._drivers:
            if simulator.state.tag(driver.id_tag) is None:
                simulator.add_tag(driver.id_tag, note=driver.name)
        simulator.station = _FleetStation(self, self._others)
        if speed != 1:
            simulator.clock.run_at(speed)

    async def run(self, stop: asyncio.Event) -> None:
        """Step every ``sample_seconds`` of simulated time until ``stop`` is set."""
        while not stop.is_set():
            await self.step()
            try:
                async with asyncio.timeout(self._sample_seconds / self._speed):
                    await stop.wait()
            except TimeoutError:
                continue

    async def step(self) -> None:
        """Let every connector live up to now: charge and sample, end a session, start the next."""
        for connector in self._connectors:
            if self._simulator.state.charge_box(connector.box.charge_box_id) is None:
                self._forget(connector)
            elif connector.session is not None:
                self._charge(connector, connector.session)
            elif self._simulator.clock.now() >= connector.free_until:
                await self._next_driver(connector)

    def states(self) -> list[CarState]:
        """The cars that charge now."""
        return [_state(connector, connector.session) for connector in self._connectors if connector.session]

    async def start(self, charge_box_id: str, connector_id: int | None, id_tag: str) -> bool:
        """Plug a car in and start; False if no such connector is free or SteVe did not accept the tag."""
        connector = self.free_connector(charge_box_id, connector_id)
        return connector is not None and await self._start(connector, self._driver_of(id_tag))

    def stop(self, transaction_id: int, reason: str) -> bool:
        """End a session of the fleet; False if it has none with this transaction."""
        for connector in self._connectors:
            if connector.session is not None and connector.session.transaction_id == transaction_id:
                self._charge(connector, connector.session)
                if connector.session is not None:
                    self._stop(connector, connector.session, reason)
                return True
        return False

    def owns(self, charge_box_id: str) -> bool:
        """Whether this charge box belongs to the fleet."""
        return any(connector.box.charge_box_id == charge_box_id for connector in self._connectors)

    def free_connector(self, charge_box_id: str, connector_id: int | None) -> _Connector | None:
        """A connector of the box where nobody charges."""
        for connector in self._connectors:
            matches = connector.box.charge_box_id == charge_box_id and connector_id in (None, connector.connector_id)
            if matches and connector.session is None and not connector.starting:
                return connector
        return None

    async def _next_driver(self, connector: _Connector) -> None:
        waiting = [driver for driver in self._drivers if not driver.charging and _fits(driver.car, connector.box)]
        if waiting and not connector.starting:
            await self._start(connector, self._dice.choice(waiting))

    async def _start(self, connector: _Connector, driver: _Driver) -> bool:
        simulator, box, register = self._simulator, connector.box, int(connector.register_wh)
        connector.starting = True
        connector.free_until = simulator.clock.now() + self._pause()
        try:
            if await simulator.authorize(box.charge_box_id, driver.id_tag) is not AuthStatus.ACCEPTED:
                return False
            result = await simulator.start_transaction(
                box.charge_box_id, connector.connector_id, driver.id_tag, start_value=register
            )
        finally:
            connector.starting = False
        if result.status is not AuthStatus.ACCEPTED:
            simulator.stop_transaction(result.transaction_id, register, reason="DeAuthorized")
            return False
        self._plug_in(connector, driver, result.transaction_id)
        return True

    def _plug_in(self, connector: _Connector, driver: _Driver, transaction_id: int) -> None:
        now, box = self._simulator.clock.now(), connector.box
        driver.charging = True
        stay = timedelta(minutes=self._dice.uniform(15, 45) if box.dc else self._dice.uniform(60, 480))
        connector.session = _Session(
            transaction_id=transaction_id,
            driver=driver,
            charge=self._dice.uniform(0.08, 0.6),
            since=now,
            leaves_at=now + stay,
            start_wh=int(connector.register_wh),
        )
        connector.stepped_at = now
        self._sample(connector, connector.session, "Transaction.Begin")

    def _charge(self, connector: _Connector, session: _Session) -> None:
        now, before = self._simulator.clock.now(), connector.stepped_at or session.since
        seconds = max(0.0, (now - before).total_seconds())
        connector.stepped_at = now
        session.power_w = charging_power_w(
            session.driver.car,
            box_w=connector.box.max_w,
            dc=connector.box.dc,
            charge=session.charge,
            seconds=(now - session.since).total_seconds(),
        )
        room = (1 - session.charge) * session.driver.car.battery_wh
        energy = min(session.power_w * seconds / 3600, room)
        connector.register_wh += energy
        session.charge = min(1.0, session.charge + energy / session.driver.car.battery_wh)
        full = room - energy < 1
        if full or now >= session.leaves_at:
            self._stop(connector, session, "Local" if full else "EVDisconnected")
        else:
            self._sample(connector, session, "Sample.Periodic")

    def _sample(self, connector: _Connector, session: _Session, context: str) -> None:
        readings = (
            (ENERGY, "Wh", int(connector.register_wh)),
            ("Power.Active.Import", "W", round(session.power_w)),
            ("SoC", "Percent", round(session.charge * 100)),
        )
        self._simulator.meter_values(
            session.transaction_id,
            self._simulator.clock.now(),
            [
                {"value": str(value), "measurand": measurand, "unit": unit, "context": context}
                for measurand, unit, value in readings
            ],
        )

    def _stop(self, connector: _Connector, session: _Session, reason: str) -> None:
        session.power_w = 0.0
        self._sample(connector, session, "Transaction.End")
        self._simulator.stop_transaction(session.transaction_id, int(connector.register_wh), reason=reason)
        connector.session = connector.stepped_at = None
        connector.free_until = self._simulator.clock.now() + self._pause()
        session.driver.charging = False

    def _forget(self, connector: _Connector) -> None:
        """The charge box is gone from SteVe, and with it the transaction."""
        if connector.session is not None:
            connector.session.driver.charging = False
            connector.session = None

    def _pause(self, *, first: bool = False) -> timedelta:
        return timedelta(seconds=self._dice.uniform(0, 60) if first else self._dice.uniform(60, 600))

    def _driver_of(self, id_tag: str) -> _Driver:
        for driver in self._drivers:
            if driver.id_tag.casefold() == id_tag.casefold():
                return driver
        return _Driver(id_tag, id_tag, self._dice.choice(CAR_MODELS[:-1]))


class _FleetStation:
    """RemoteStart and RemoteStop of the fleet's boxes; all others go on to who answered before."""

    def __init__(self, fleet: Fleet, others: Station) -> None:
        self._fleet, self._others = fleet, others

    def accepts_start(self, charge_box_id: str, connector_id: int | None) -> bool:
        """Whether a connector is free."""
        if not self._fleet.owns(charge_box_id):
            return self._others.accepts_start(charge_box_id, connector_id)
        return self._fleet.free_connector(charge_box_id, connector_id) is not None

    async def remote_start(self, charge_box_id: str, connector_id: int | None, id_tag: str) -> None:
        """Start a car."""
        if self._fleet.owns(charge_box_id):
            await self._fleet.start(charge_box_id, connector_id, id_tag)
        else:
            await self._others.remote_start(charge_box_id, connector_id, id_tag)

    async def remote_stop(self, transaction_id: int) -> None:
        """Stop a car."""
        if not self._fleet.stop(transaction_id, "Remote"):
            await self._others.remote_stop(transaction_id)


def _fits(car: CarModel, box: FleetBox) -> bool:
    return car.max_dc_w > 0 or not box.dc


def _state(connector: _Connector, session: _Session) -> CarState:
    return CarState(
        charge_box_id=connector.box.charge_box_id,
        connector_id=connector.connector_id,
        id_tag=session.driver.id_tag,
        driver=session.driver.name,
        car=session.driver.car.name,
        transaction_id=session.transaction_id,
        state_of_charge=round(session.charge * 100, 1),
        power_w=round(session.power_w, 1),
        session_wh=int(connector.register_wh) - session.start_wh,
        register_wh=int(connector.register_wh),
        since=session.since,
    )
