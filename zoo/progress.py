"""Progress on stderr: a bar on a terminal, plain lines elsewhere; stdout stays for data."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress


class Bar:
    """A progress bar over `total` items (None: unknown) of a unit; a context manager."""

    def __init__(self, title: str, total: int | None, unit: str = "images", start: int = 0) -> None:
        self._bar: rich.progress.Progress | None = None
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[note]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, completed=start, note=unit)

    @property
    def shown(self) -> bool:
        """Whether stderr is a terminal."""
        return self._bar is not None

    def set_total(self, total: int | None) -> None:
        """Set the number of items."""
        if self._bar:
            self._bar.update(self._task, total=total)

    def __enter__(self) -> Bar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, count: int, note: str) -> None:
        """Count `count` more items; `note` is shown beside the bar."""
        if self._bar:
            self._bar.update(self._task, advance=count, note=note)

    def reach(self, count: int, note: str) -> None:
        """Show that `count` items are done, of all."""
        if self._bar:
            self._bar.update(self._task, completed=count, note=note)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
