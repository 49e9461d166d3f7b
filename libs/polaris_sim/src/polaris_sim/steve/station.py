"""What stands behind a charge box and answers RemoteStart and RemoteStop."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from polaris_sim.steve.simulator import SteveSimulator


class Station(Protocol):
    """Starts and stops sessions when SteVe asks for it."""

    async def remote_start(self, charge_box_id: str, connector_id: int | None, id_tag: str) -> None:
        """Start a session after an accepted RemoteStartTransaction; no connector means any."""
        ...

    async def remote_stop(self, transaction_id: int) -> None:
        """Stop a session after an accepted RemoteStopTransaction."""
        ...

    def accepts_start(self, charge_box_id: str, connector_id: int | None) -> bool:
        """Whether RemoteStartTransaction is answered Accepted."""
        ...


class PlainStation:
    """Starts at register 0 or where the last session of the connector ended, and delivers no energy."""

    def __init__(self, simulator: "SteveSimulator") -> None:
        self._simulator = simulator

    def accepts_start(self, charge_box_id: str, connector_id: int | None) -> bool:
        """Always."""
        return True

    async def remote_start(self, charge_box_id: str, connector_id: int | None, id_tag: str) -> None:
        """Start a session now."""
        connector = connector_id or 1
        await self._simulator.start_transaction(
            charge_box_id, connector, id_tag, start_value=self._register(charge_box_id, connector)
        )

    async def remote_stop(self, transaction_id: int) -> None:
        """Stop the session now, at its last reading."""
        transaction = self._simulator.state.transactions.get(transaction_id)
        if transaction is None:
            return
        readings = [reading for value in transaction.meter_values if (reading := value.energy_wh()) is not None]
        value = str(int(readings[-1])) if readings else transaction.start_value or "0"
        self._simulator.stop_transaction(transaction_id, value, reason="Remote")

    def _register(self, charge_box_id: str, connector_id: int) -> str:
        state = self._simulator.state
        box = state.charge_box(charge_box_id)
        latest = max(
            (
                transaction_id
                for transaction_id in (box.transaction_ids if box else ())
                if state.transactions[transaction_id].connector_id == connector_id
                and state.transactions[transaction_id].stop is not None
            ),
            default=None,
        )
        stop = state.transactions[latest].stop if latest is not None else None
        return stop.stop_value if stop else "0"
