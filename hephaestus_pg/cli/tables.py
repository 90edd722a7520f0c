"""Tables with a line a row, for a terminal as wide as it is, and whole for a pipe."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Self

from hephaestus_pg.cli.terminal import (
    printable,
    screen_columns,
    shortened,
    wants_colours,
    width_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

ROWS_MEASURED = 200
"""Rows after which the widths of the columns stay as they are, so that memory stays flat."""

_GAP = "  "
_NARROWEST = 6
"""Columns of the screen that remain of a text that is shortened."""

_BOLD, _RED, _GREEN, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_COLOURS = {
    "failed": _RED,
    "exhausted": _RED,
    "orphaned": _RED,
    "completed": _GREEN,
    "+": _GREEN,
    "~": _YELLOW,
}


class Table:
    """Prints rows below the names of their columns, within a ``with`` block.

    On a terminal the ``long`` columns, such as ids, are shortened until a line fits. Elsewhere
    every text is whole. ``numbers`` stand to the right, ``states`` are coloured where colours are.
    Without a row nothing is printed.
    """

    def __init__(
        self,
        *names: str,
        long: Collection[str] = (),
        numbers: Collection[str] = (),
        states: Collection[str] = (),
    ) -> None:
        self._names = names
        self._long = [names.index(name) for name in names if name in long]
        self._numbers = {names.index(name) for name in numbers}
        self._states = {names.index(name) for name in states}
        self._waiting: list[tuple[tuple[str, ...], list[str]]] = []
        self._widths: list[int] | None = None
        self._has_colours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, OSError):  # the reader may have gone
            self._print()

    def add(self, *texts: str, below: Iterable[str] = ()) -> None:
        """Adds a row, with a text for each column and whole lines below it.

        Stored text may be among them.
        """
        self._waiting.append((tuple(map(printable, texts)), list(map(printable, below))))
        if self._widths is not None or len(self._waiting) == ROWS_MEASURED:
            self._print()

    def _print(self) -> None:
        rows, self._waiting = self._waiting, []
        if rows and self._widths is None:
            self._has_colours = wants_colours()
            self._widths = self._fitted([self._names, *(row for row, _ in rows)])
            self._print_row(self._names, is_head=True)
        for row, below in rows:
            self._print_row(row)
            for line in below:
                self._print_below(line)

    def _fitted(self, rows: Sequence[Sequence[str]]) -> list[int]:
        """Measures the columns, and takes from the widest of the long ones what is too much."""
        widths = [max(map(width_of, column)) for column in zip_longest(*rows, fillvalue="")]
        screen = screen_columns()
        if screen is None:
            return widths
        too_much = sum(widths) + len(_GAP) * (len(widths) - 1) - screen
        for _ in range(max(0, too_much)):
            widest = max(self._long, key=lambda each: widths[each], default=None)
            if widest is None or widths[widest] <= _NARROWEST:
                break
            widths[widest] -= 1
        return widths

    def _print_row(self, row: Sequence[str], *, is_head: bool = False) -> None:
        assert self._widths is not None
        cells = []
        for place, (text, width) in enumerate(zip(row, self._widths, strict=True)):
            shown = shortened(text, width) if self._is_cut(place) else text
            room = " " * (width - width_of(shown))
            colour = _BOLD if is_head else _COLOURS.get(text) if place in self._states else None
            if colour and self._has_colours:
                shown = f"{colour}{shown}{_PLAIN}"
            cells.append(f"{room}{shown}" if place in self._numbers else f"{shown}{room}")
        print(_GAP.join(cells).rstrip())

    def _print_below(self, line: str) -> None:
        screen = screen_columns()
        shown = line if screen is None else shortened(line, screen)
        colour = _COLOURS.get(line.lstrip()[:1])
        print(f"{colour}{shown}{_PLAIN}" if colour and self._has_colours else shown)

    def _is_cut(self, place: int) -> bool:
        return place in self._long and screen_columns() is not None
