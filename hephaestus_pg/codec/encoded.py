"""An instance ready to be written, and the instance that a read of its row will give."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.codec import timestamps
from hephaestus_pg.codec.restore import (
    parse_token,
    restore_context,
    restore_entry,
    restore_instance,
)
from hephaestus_pg.errors import CorruptInstanceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Record

    from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance

_NOT_STORED_YET = dict.fromkeys(("revision", "runner", "inserted_at", "updated_at"))


class EncodedInstance(NamedTuple):
    """An instance as the columns of its row, the state as JSON text.

    The last two fields are not sent.
    """

    columns: tuple[str, str, str, str, str | None]
    """The id, the workflow, the status, the workflow's version and when it is due, as text."""
    state: str
    instance: Instance
    """The caller's; its maps may change while the row is written."""
    stored_state: dict[str, Any]
    """The state as a read gives it, its ``step_configs`` by step."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.columns[0]

    def expected(self) -> Instance:
        """Returns the instance that a read will give, without what only the row knows."""
        version = self.instance.workflow_version
        return self.stored({**_NOT_STORED_YET, "workflow_version": version})

    def stored(self, row: Record | Mapping[str, Any]) -> Instance:
        """Returns the instance that a read will give, with the columns of its written ``row``."""
        given, state = self.instance, self.stored_state
        context, history = state["context"], given.execution_history
        if history:
            entries = [
                entry
                if stored["context_updates"] is None and entry.timestamp.tzinfo is UTC
                else _stored_entry(entry, stored)
                for entry, stored in zip(history, state["execution_history"], strict=True)
            ]
            history = tuple(entries)
        return _with_row(
            given,
            row,
            restore_context(context["initial"], context["steps"]),
            state["step_configs"],
            state["runtime_metadata"],
            history,
        )

    def shared(self, row: Record) -> Instance:
        """Returns an equal instance that shares its maps with the caller's: less memory."""
        given = self.instance
        return _with_row(
            given,
            row,
            given.context,
            given.step_configs,
            given.runtime_metadata,
            given.execution_history,
        )


def _stored_entry(entry: ExecutionEntry, stored: dict[str, Any]) -> ExecutionEntry:
    moment = entry.timestamp
    if moment.tzinfo is not UTC:
        moment = timestamps.parse(stored["timestamp"])
    return restore_entry(
        entry.step_ref,
        entry.event,
        moment,
        stored["context_updates"],
        entry.unknown,
        stored["timestamp"],
    )


def _with_row(  # noqa: PLR0913, PLR0917 - the columns
    given: Instance,
    row: Record | Mapping[str, Any],
    context: Context,
    step_configs: Mapping[Any, Mapping[str, Any]],
    runtime_metadata: Mapping[str, Any],
    history: tuple[ExecutionEntry, ...],
) -> Instance:
    """Returns the ``given`` instance with these maps and the columns of its written ``row``.

    Raises:
        CorruptInstanceError: A column holds what no instance can.
    """
    from_epoch = timestamps.from_epoch
    try:
        inserted_at, updated_at = from_epoch(row["inserted_at"]), from_epoch(row["updated_at"])
    except ValueError as error:
        raise CorruptInstanceError(given.id, f"{error}; its state has been written") from error
    return restore_instance(
        given.id,
        given.workflow,
        row["workflow_version"],
        given.status,
        given.current_step,
        context,
        step_configs,
        given.active_steps,
        given.completed_steps,
        runtime_metadata,
        history,
        None if (due_at := given.due_at) is None else due_at.astimezone(UTC),
        None if (revision := row["revision"]) is None else int(revision),
        None if (runner := row["runner"]) is None else parse_token(runner),
        inserted_at,
        updated_at,
        given.unknown_state,
    )
