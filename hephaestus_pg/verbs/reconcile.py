"""Reconciliation: what became of a write whose answer was lost, by what the table holds now.

The connection's backend has been fenced by then, so that the write is not still under way.
"""

from __future__ import annotations

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


def insert(held: Record | None, *, equal: bool) -> Verdict:
    """The verdict on an insert; ``equal``: the row ``held`` is what it would have written."""
    if held is None:
        return "retry"
    # Another's row may have been there before, or have come after ours was deleted.
    return "applied" if equal else "unknown"


def update(held: Record | None, seen: int, *, equal: bool) -> Verdict:
    """The verdict on an update of a row at the revision ``seen``; ``equal`` as for an insert."""
    if held is None or int(held["revision"]) not in {seen, seen + 1}:
        return "unknown"
    return "applied" if int(held["revision"]) > seen and equal else "retry"


def delete(held: Record | None, expected: str | None) -> Verdict:
    """The verdict on a delete of a row at the revision ``expected``, if that is given."""
    if held is None:
        return "applied"
    # At that revision it is the same row still: none comes twice.
    return "retry" if expected in {None, held["revision"]} else "unknown"


async def write(
    executor: Executor,
    statement: Statement,
    verdict: Callable[[Record | None], Verdict],
    deadline: float,
    *arguments: Any,
) -> tuple[bool, Record | None]:
    """Run a write that must not happen twice: whether it happened, and its row.

    When its answer is lost, ``verdict`` decides by the row that the table holds now; that row then
    takes the place of the lost one. The first of the ``arguments`` is the id.
    """
    not_applied: DatabaseError | None = None

    async def try_once() -> tuple[bool, Record | None]:
        nonlocal not_applied
        try:
            row: Record | None = await executor.row(deadline, statement, *arguments)
        except DatabaseError as error:
            if not (executor.retries and _is_worth_a_look(error)):
                raise
            held = await _held(executor, deadline, arguments[0], error)
            became = verdict(held)
            if became == "applied":
                return True, held
            not_applied = error if became == "retry" else None
            raise
        return row is not None, row

    async def on_failure(error: DatabaseError) -> None:
        if error is not not_applied:
            raise error
        error.applied = "no"

    try:
        return await try_once()  # what succeeds at once pays for no loop
    except DatabaseError as error:
        if error is not not_applied:
            raise
    name = f"{statement.name} of {arguments[0]!r}"
    return await retrying.run(
        try_once, retrying.RECONCILED, deadline, name=name, on_failure=on_failure
    )


async def _held(
    executor: Executor, deadline: float, id: str, error: DatabaseError
) -> Record | None:
    """The row that the table holds now; ``error`` is raised if that cannot be seen."""
    try:
        row: Record | None = await executor.row(deadline, executor.statements.get, id)
    except DatabaseError:
        raise error from error.__cause__  # still the one that says "unknown"
    return row


def _is_worth_a_look(error: DatabaseError) -> bool:
    return (
        error.applied != "no"
        and error.retryable
        and not isinstance(error, OperationTimeoutError)  # no time is left for a look
    )
