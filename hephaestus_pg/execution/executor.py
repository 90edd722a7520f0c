"""The interface through which verbs run statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.execution.lifecycle import Operation
    from hephaestus_pg.execution.statements import Statement, Statements

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs statements in one schema. A ``deadline`` is a time of the event loop's clock."""

    schema: str
    statements: Statements
    retries: ClassVar[bool]
    """Work may be done again as a whole after a failure: true on a pool, not on one connection."""

    def operation(self, verb: str, id: str | None, timeout: float | None) -> Operation:
        """The ``with`` block of a verb, from its first statement to its last: its deadline.

        ``None`` is the storage's own timeout.
        """
        ...

    def deadline(self, timeout: float | None) -> float:
        """The deadline of a statement that begins now, one of several of a verb."""
        ...

    def fetch(
        self, deadline: float, statement: Statement, *arguments: Any
    ) -> Awaitable[list[Record]]:
        """The rows of the statement."""
        ...

    def row(self, deadline: float, statement: Statement, *arguments: Any) -> Awaitable[Any]:
        """The row of a statement on one id, which is its first argument; ``None`` if none."""
        ...

    async def atomically(
        self, deadline: float, work: Callable[[Executor], Awaitable[Result]]
    ) -> Result:
        """The result of ``work``, done in one transaction; it may be done twice.

        It must have begun by the ``deadline``; each of its statements has one of its own.
        """
        ...
