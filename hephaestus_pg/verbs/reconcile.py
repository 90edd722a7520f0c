"""Reconciliation: what became of a write whose answer was lost, by what the table holds now.

The connection's backend has been fenced by then, so that the write is not still under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hephaestus_pg.errors import DatabaseError, OperationTimeoutError
from hephaestus_pg.execution import retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Record

    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.execution.statements import Statement

Verdict = Literal["applied", "retry", "unknown"]
"""The write was applied; or it was not, and may be tried again; or nobody can tell."""


def insert(current: Record | None, *, equal: bool) -> Verdict:
    """The verdict on an insert; ``equal``: the row ``current`` is what it would have written."""
    if current is None:
        return "retry"
    # Another's row may have been there before, or have come after ours was deleted.
    return "applied" if equal else "unknown"


def update(current: Record | None, seen: int, *, equal: bool, equal_counts: bool) -> Verdict:
    """The verdict on an update of a row at the revision ``seen``; ``equal`` as for an insert.

    ``equal_counts``: what is equal counts as this one, though another may have written it.
    """
    if current is None or int(current["revision"]) not in {seen, seen + 1}:
        return "unknown"
    if int(current["revision"]) == seen or not equal:
        return "retry"
    return "applied" if equal_counts else "unknown"


def delete(current: Record | None, expected: str | None) -> Verdict:
    """The verdict on a delete of a row at the revision ``expected``, if that is given."""
    if current is None:
        return "applied"
    # At that revision it is the same row still: none comes twice.
    return "retry" if expected in {None, current["revision"]} else "unknown"


async def write(
    executor: Executor,
    statement: Statement,
    verdict: Callable[[Record | None], Verdict],
    deadline: float,
    *arguments: Any,
) -> tuple[bool, Record | None]:
    """Runs a write that must not happen twice. Gives whether it happened, and its row.

    When its answer is lost, ``verdict`` decides by the row that the table holds now; that row then
    takes the place of the lost one. The first of the ``arguments`` is the id.
    """
    try:
        row: Record | None = await executor.row(deadline, statement, *arguments)
    except DatabaseError as error:
        if not executor.retries:
            raise
        tries = _Tries(executor, statement, verdict, deadline, arguments, error)
    else:
        return row is not None, row
    # Around the tries of the statement itself, which end where it may have been applied.
    return await retrying.run(
        tries.run_once,
        retrying.RECONCILED,
        deadline,
        name=statement.name,
        schema=executor.schema,
        on_failure=tries.on_failure,
    )


@dataclass(slots=True)
class _Tries:
    """The tries of one write, the first of which has failed."""

    executor: Executor
    statement: Statement
    verdict: Callable[[Record | None], Verdict]
    deadline: float
    arguments: tuple[Any, ...]
    first_error: DatabaseError | None
    """The error of the first try, until it is looked into."""
    not_applied: DatabaseError | None = None
    """The error of the last try, if the write is known not to have been applied."""

    async def run_once(self) -> tuple[bool, Record | None]:
        """One try, and a look at the row if its answer is lost."""
        first_error, self.first_error = self.first_error, None
        try:
            if first_error is not None:
                raise first_error
            row: Record | None = await self.executor.row(
                self.deadline, self.statement, *self.arguments
            )
        except DatabaseError as error:
            if not _can_reconcile(error):
                raise
            current = await self._read_current(error)
            became = self.verdict(current)
            if became == "applied":
                return True, current
            self.not_applied = error if became == "retry" else None
            raise
        return row is not None, row

    async def on_failure(self, error: DatabaseError) -> None:
        """Raises what must not be tried again."""
        if error is not self.not_applied:
            raise error
        error.applied = "no"

    async def _read_current(self, error: DatabaseError) -> Record | None:
        """The row that the table holds now; ``error`` is raised if that cannot be seen."""
        get = self.executor.statements.get
        try:
            row: Record | None = await self.executor.row(self.deadline, get, self.arguments[0])
        except DatabaseError:
            raise error from error.__cause__  # the first one: its ``applied`` is "unknown"
        return row


def _can_reconcile(error: DatabaseError) -> bool:
    return (
        error.applied != "no"
        and error.retryable
        and not isinstance(error, OperationTimeoutError)  # it may still be under way
    )
