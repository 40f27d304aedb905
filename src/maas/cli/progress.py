"""Long work: a bar on a terminal, plain lines in a pipe; both on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from maas.cli.output import note, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from maas.core.records import OperationEvent


class JobProgress:
    """Shows the steps of a publish job; a context manager.

    Args:
        title: what is being published.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Progress | None = None
        self._said = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.fields[title]}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._task = self._bar.add_task("", total=1.0, title=printable(self._title))
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: OperationEvent) -> None:
        """Shows one step."""
        if event.stage == "failed":  # the command ends with the same sentence as its error
            return
        text = f"{event.stage}: {event.message}"
        if self._bar is not None:
            self._bar.update(self._task, completed=event.fraction, description=printable(text))
        elif text != self._said:  # a step that only got further moves a bar and is no new line
            note(f"{self._title}: {text}")
        self._said = text
