"""How far a run is: bars on a terminal, lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# A stage that takes less has no line; between two lines about one stage.
_SHORT_SECONDS, _LINE_SECONDS = 2.0, 10.0

Done = Callable[[int], None]


class Progress:
    """Says nothing; others say how far each stage is."""

    def stage(self, name: str, total: int = 0, unit: str = "") -> AbstractContextManager[Done]:
        """Show a stage while it lasts; what comes is called with what is done since.

        Parameters
        ----------
        total
            How much there is to do; 0 where that is not known.
        unit
            What is counted; ``"bytes"`` are shown in MB.
        """
        return self._silent()

    @contextmanager
    def _silent(self) -> Iterator[Done]:
        yield lambda done: None


class LineProgress(Progress):
    """Writes lines to standard error: what a stage has done now and then, and at its end."""

    @contextmanager
    def stage(self, name: str, total: int = 0, unit: str = "") -> Iterator[Done]:
        """See `Progress.stage`."""
        start = time.monotonic()
        next_line = start + _SHORT_SECONDS
        count = 0

        def done(more: int) -> None:
            nonlocal count, next_line
            count += more
            now = time.monotonic()
            if now >= next_line and count and total:
                next_line = now + _LINE_SECONDS
                rate = count / (now - start)
                left = max(total - count, 0) / rate
                share = f"{min(count / total, 1):.0%} of {_amount(total, unit)}"
                self._say(f"{name}: {share}, {_amount(rate, unit)}/s, {left:.0f} s left")

        yield done
        seconds = time.monotonic() - start
        if seconds >= _SHORT_SECONDS:
            amount = f"{_amount(count, unit)} in " if count else ""
            self._say(f"{name}: done, {amount}{seconds:.1f} s")

    @staticmethod
    def _say(line: str) -> None:
        print(f"dedup: {line}", file=sys.stderr, flush=True)


class BarProgress(Progress):
    """Draws a bar for each stage on a terminal."""

    @contextmanager
    def stage(self, name: str, total: int = 0, unit: str = "") -> Iterator[Done]:
        """See `Progress.stage`."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed or 0:,.0f}/s")

        amounts: tuple[ProgressColumn, ...] = ()
        if total:
            amounts = (MofNCompleteColumn(), Rate())
        if total and unit == "bytes":
            amounts = (DownloadColumn(), TransferSpeedColumn())
        with Bars(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            *amounts,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bars:
            task = bars.add_task(name, total=total or None)
            yield lambda done: bars.advance(task, done)
            bars.update(task, total=total or 1, completed=total or 1)


def choose_progress(quiet: bool = False) -> Progress:
    """Return bars on a terminal, lines elsewhere, or nothing when it has to be quiet."""
    if quiet:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def _amount(count: float, unit: str) -> str:
    if unit == "bytes":
        return f"{count / 1e6:,.1f} MB"
    return f"{count:,.0f} {unit}".rstrip()
