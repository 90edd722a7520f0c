"""Reads what the page shows: by names, and never more than a page may hold."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from hephaestus_pg.codec.serializer import Serializer
from hephaestus_pg.errors import CorruptInstanceError
from hephaestus_pg.inspect.looking import EXACT_UP_TO, SAMPLED_PAGES, InspectVerbs
from hephaestus_pg.values.instance import checked_id
from hephaestus_pg.values.references import Names
from hephaestus_pg.web.hours import Count, Hour

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.execution.statements import Statement
    from hephaestus_pg.storage import AsyncStorage
    from hephaestus_pg.values.instance import Instance

PART_BYTES = 128 * 1024
"""The bytes up to which a part of a state is read, such as its context."""

READ_OF_A_QUARTER = 500
"""Rows up to which those inserted in a quarter of an hour are counted, and not estimated."""

_ROW_COLUMNS = 10
"""Columns of ``row.sql``, which the statement's own follow."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row: its columns as text or numbers, and the instance, or why it cannot be read."""

    columns: Mapping[str, Any]
    instance: Instance | None
    error: str
    cut: Mapping[str, int]
    """The parts of its state that are too large to be shown, each with its bytes."""


class Reading(InspectVerbs):
    """A storage's looks at its table, with names instead of classes."""

    def __init__(self, storage: AsyncStorage) -> None:
        executor: PoolExecutor = storage._pool_executor  # noqa: SLF001 - the same, read by names
        super().__init__(executor, Serializer(Names()))
        self._pool_executor = executor

    def at_most(self, seconds: float) -> float:
        """A timeout of that, or the storage's own, which a call may not exceed."""
        return min(seconds, self._pool_executor.timeout)

    async def hours(self) -> list[Hour]:
        """The last 24 hours, the oldest first; the last one is not over."""
        few, many = str(EXACT_UP_TO + 1), str(SAMPLED_PAGES)
        with self._executor.operation("hours", None, None) as deadline:
            fetch = partial(self._executor.fetch, deadline)
            inserted = await fetch(self._statement("inserted_by_hour"), str(READ_OF_A_QUARTER))
            groups = await fetch(self._statement("written_by_hour"), few, many)
        written: dict[str, dict[str, dict[str, Count]]] = defaultdict(lambda: defaultdict(dict))
        for row in groups:
            number = _count(row["instances"], row["is_exact"])
            written[row["hour"]][row["workflow"]][row["status"]] = number
        return [
            Hour(
                datetime.fromtimestamp(float(row["hour"]), UTC),
                _count(row["inserted"], row["is_exact"]),
                written[row["hour"]],
            )
            for row in inserted
        ]

    async def found(self, id: str) -> Found | None:
        """The row with that id, without the parts of its state that are over ``PART_BYTES``."""
        checked_id(id)
        with self._executor.operation("found", id, None) as deadline:
            rows = await self._executor.fetch(
                deadline, self._statement("parts"), id, str(PART_BYTES)
            )
        if not rows:
            return None
        [row] = rows
        instance, error = None, ""
        try:
            instance = self._serializer.decode(row[:_ROW_COLUMNS])  # type: ignore[arg-type]
        except CorruptInstanceError as corrupt:
            error = str(corrupt)
        return Found(dict(row), instance, error, json.loads(row["cut"]))

    def _statement(self, name: str) -> Statement:
        return self._statements.one(name, "read", "rows")


def _count(number: str, is_exact: str) -> Count:
    return Count(int(number), is_exact == "true")
