"""What commands show: a bar and a table in colours with rich on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS_BETWEEN_LINES = 1.0


class Progress(Protocol):
    """Shows how far a command is, within a ``with`` block."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, done: int, text: str) -> None:
        """So much is done, and ``text`` says what else there is to say."""
        ...

    def say(self, text: str) -> None:
        """Something happened."""
        ...


def progress(total: int, unit: str = "steps") -> Progress:
    """The progress of ``total`` steps, as well as this terminal can show it."""
    return _Bar(total, unit) if _has_rich() else _Lines(total, unit)


def show_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print what came out."""
    if _has_rich():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, box=box.ROUNDED, show_header=False)
        for label, value in rows:
            style = {"yes": "green", "no": "bold red"}.get(value.partition(":")[0])
            table.add_row(label, value, style=style)
        Console().print(table)
        return
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    print(f"\n{title}\n{'-' * len(title)}")
    for label, value in rows:
        print(f"{label:<{width}}  {value}")


def _has_rich() -> bool:
    return sys.stdout.isatty() and find_spec("rich") is not None


class _Lines:
    def __init__(self, total: int, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._next_line = 0.0
        self._shown = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, done: int, text: str) -> None:
        due = done == self._total or time.monotonic() >= self._next_line
        if due and done != self._shown:
            self._shown = done
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            self.say(f"{done:>6} of {self._total} {self._unit}; {text}")

    def say(self, text: str) -> None:
        print(text, flush=True)


class _Bar:
    def __init__(self, total: int, unit: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn(f"{unit}; {{task.description}}")
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, text: str) -> None:
        self._progress.update(self._task, completed=done, description=text)

    def say(self, text: str) -> None:
        self._progress.console.print(text)
