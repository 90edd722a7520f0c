"""A dictionary that keeps the rules of the rows: what the models compare a storage with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.catalog import MOMENT

if TYPE_CHECKING:
    from hephaestus_pg import Instance


class Rows:
    """The rows as they should be, and every state that a write or a read gave."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Instance] = {}
        self.seen: list[Instance] = []

    def upserted(self, new: Instance) -> Instance:
        """What an upsert makes of the row."""
        held = self.rows.get(new.id)
        if held is None:
            return replace(new, revision=None)
        assert held.revision is not None
        return replace(new, workflow_version=held.workflow_version, revision=held.revision + 1)

    def wrote(self, actual: Instance, expected: Instance) -> None:
        """``expected`` without a revision is a new row, which begins where none has been."""
        assert actual == expected
        assert actual.revision is not None
        if expected.revision is None:
            before = (seen.revision or 0 for seen in self.seen if seen.id == actual.id)
            assert actual.revision > max(before, default=MOMENT)
        else:
            assert actual.revision == expected.revision
        self.rows[expected.id] = actual
        self.seen.append(actual)
