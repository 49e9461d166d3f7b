"""The replay's progress bars, on stderr so that stdout has the result alone."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from polaris_cli.replay.settling import Progress as Settled


class Display:
    """Three bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> "Display":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def plan(self, *, actions: int, sessions: int, wh: int) -> None:
        """Say how much there is to do."""
        self._fed = self._bars.add_task("station messages", total=actions)
        self._settled = self._bars.add_task("sessions settled", total=sessions)
        self._billed = self._bars.add_task("kWh billed", total=wh // 1000)

    def say(self, sentence: str) -> None:
        """Show one sentence."""
        self._console.print(sentence, soft_wrap=True)

    def fed(self, actions: int) -> None:
        """So many actions are fed."""
        self._bars.update(self._fed, completed=actions)

    def settled(self, seen: Settled) -> None:
        """Show what the platform has made of them."""
        self._bars.update(self._settled, completed=seen.settled)
        self._bars.update(self._billed, completed=seen.billed_wh // 1000)
