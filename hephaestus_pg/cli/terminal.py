"""Progress, tables and prose: in colours on a terminal where rich is installed, else plain."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
import unicodedata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS_BETWEEN_LINES = 1.0
_NARROWEST_VALUE = 24
"""Columns that a table's values need; with fewer they go below their labels."""


def printable(text: str) -> str:
    """Returns stored text as it may go to a terminal: one line, and nothing that steers it.

    Control characters, those that turn the direction of writing too, come as Python escapes them,
    and so does what the encoding of the output lacks.
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shortened(text: str, width: int) -> str:
    """Returns ``text`` in at most ``width`` columns; of a longer one the middle is left out."""
    if width_of(text) <= width:
        return text
    dots = "…" if printable("…") == "…" else "..."
    room = max(0, width - len(dots))
    head, tail = _fitting(text, room - room // 2), _fitting(text[::-1], room // 2)[::-1]
    return f"{head}{dots[:width]}{tail}"


def width_of(text: str) -> int:
    """Returns the columns that ``text`` takes: two for a wide character, none for an accent."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fitting(text: str, width: int) -> str:
    """Returns the beginning of ``text`` that fits."""
    for end, character in enumerate(text):
        width -= _columns_of(character)
        if width < 0:
            return text[:end]
    return text


def screen_columns() -> int | None:
    """Returns the width to which lines are to be fitted; ``None`` where nobody looks at them."""
    return _columns() if sys.stdout.isatty() else None


def wants_colours() -> bool:
    """Returns ``True`` if the output is a terminal that has colours, and the user wants them."""
    return can_redraw() and not os.environ.get("NO_COLOR")


def can_redraw() -> bool:
    """Returns ``True`` if the output is a terminal on which the cursor can be moved."""
    return sys.stdout.isatty() and not _is_dumb()


class Progress(Protocol):
    """Shows how far a command is, within a ``with`` block."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, done: int, text: str) -> None:
        """Shows the number of steps done, with ``text`` beside it."""
        ...

    def say(self, text: str) -> None:
        """Prints a line about an event, beside the progress."""
        ...


def progress(total: int, unit: str = "steps") -> Progress:
    """Returns a view of ``total`` steps' progress, as well as this terminal can show it."""
    return _Bar(total, unit) if _has_rich() else _Lines(total, unit)


def show_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Prints labels with their values; "yes" and "no: …" are coloured where colours are."""
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
        if _columns() - width - 2 >= _NARROWEST_VALUE:
            show_text(f"{label:<{width}}  {value}", hanging=" " * (width + 2))
        else:
            show_text(label)
            show_text(value, indent="  ")


def show_text(text: str, *, indent: str = "", hanging: str | None = None) -> None:
    """Prints a paragraph as wide as the terminal, its further lines behind ``hanging``."""
    lines = textwrap.wrap(
        text,
        _columns(),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        # A command or a path is copied by the reader, so it stays whole.
        break_long_words=False,
        break_on_hyphens=False,
    )
    print("\n".join(lines))


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _has_rich() -> bool:
    return can_redraw() and find_spec("rich") is not None


def _is_dumb() -> bool:
    """Returns ``True`` if the terminal cannot move its cursor, which a bar needs."""
    return os.environ.get("TERM", "dumb").lower() in {"", "dumb", "unknown"}


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
            self.say("; ".join(filter(None, (f"{done:>6} of {self._total} {self._unit}", text))))

    def say(self, text: str) -> None:
        show_text(text, hanging="    ")
        sys.stdout.flush()


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
