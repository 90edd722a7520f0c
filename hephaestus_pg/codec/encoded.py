"""An instance on its way into its row, and what a read will give back of it."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.codec.timestamps import moment_of
from hephaestus_pg.values.instance import (
    ExecutionEntry,
    Instance,
    restored_context,
    restored_entry,
    with_row,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Record

_UNKNOWN_YET = dict.fromkeys(("revision", "inserted_at", "updated_at"))


class EncodedInstance(NamedTuple):
    """An instance as it goes into its row: all but the last is sent, as text.

    ``given`` is the instance, which may share its maps with the caller, who may change them while
    the row is written; and its state as a read gives it, the ``step_configs`` by step.
    """

    id: str
    workflow: str
    status: str
    workflow_version: int
    state: str
    given: tuple[Instance, dict[str, Any]]

    def columns(self) -> tuple[str, str, str, str]:
        """The columns but for the state, as text."""
        return self.id, self.workflow, self.status, str(self.workflow_version)

    def expected(self, workflow_version: int) -> Instance:
        """What a read of the row would give back, but for what else only the row knows."""
        return self.as_stored({**_UNKNOWN_YET, "workflow_version": workflow_version})

    def as_stored(self, row: Record | Mapping[str, Any]) -> Instance:
        """What a read gives back, by what the row says of itself."""
        given, content = self.given
        context = content["context"]
        history = zip(given.execution_history, content["execution_history"], strict=True)
        return with_row(
            given,
            row,
            restored_context(context["initial"], context["steps"]),
            content["step_configs"],
            content["runtime_metadata"],
            tuple(
                [
                    entry
                    if stored["context_updates"] is None and entry.timestamp.tzinfo is UTC
                    else _entry_as_stored(entry, stored)
                    for entry, stored in history
                ]
            ),
        )

    def as_given(self, row: Record) -> Instance:
        """As :meth:`as_stored`, in less memory: what was given equal is shared with the caller."""
        given, _ = self.given
        return with_row(
            given,
            row,
            given.context,
            given.step_configs,
            given.runtime_metadata,
            given.execution_history,
        )


def _entry_as_stored(entry: ExecutionEntry, stored: dict[str, Any]) -> ExecutionEntry:
    moment = entry.timestamp
    if moment.tzinfo is not UTC:
        moment = moment_of(stored["timestamp"])
    return restored_entry(
        entry.step_ref,
        entry.event,
        moment,
        stored["context_updates"],
        entry.unknown,
        stored["timestamp"],
    )
