"""A statement that inserts one row, made one that inserts several: by VALUES, not from arrays.

Citus routes VALUES to the shard at once. What is selected, from arrays too, it stores and sends on,
which takes it some milliseconds however few the rows are.
"""

from __future__ import annotations

import re
from typing import Any

MAX_ROWS = 40
"""Rows above which arrays are as good. The driver keeps no statement of more than 15 KiB, and
prepares one for each number of rows."""

_ROW = re.compile(r"(?<=^VALUES )\(\n.*?^\)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"\$(\d+)")


class MultiRow:
    """The texts for any number of rows, made of the ``single`` one, whose parameters are a row."""

    def __init__(self, single: str) -> None:
        row = _ROW.search(single)
        assert row is not None, single
        self._before, self._after = single[: row.start()], single[row.end() :]
        self._row = row[0]
        self._places = sorted({int(number) - 1 for number in _PARAMETER.findall(self._row)})
        self._texts: dict[int, str] = {}

    def text(self, rows: int) -> str:
        """The statement for that number of rows: the same object each time."""
        if rows not in self._texts:
            given = ", ".join(map(self._numbered, range(rows)))
            self._texts[rows] = f"{self._before}{given}{self._after}"
        return self._texts[rows]

    def arguments(self, rows: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Those of the statement, of rows that have all those of the single one."""
        return tuple(row[place] for row in rows for place in self._places)

    def _numbered(self, row: int) -> str:
        def moved(parameter: re.Match[str]) -> str:
            place = self._places.index(int(parameter[1]) - 1)
            return f"${row * len(self._places) + place + 1}"

        return _PARAMETER.sub(moved, self._row)
