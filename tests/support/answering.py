"""A server of the test's own behind a batcher, which answers when it is told to."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus_pg import (
    RejectedError,
)
from hephaestus_pg.execution.statements import Statement, statements_of

if TYPE_CHECKING:
    from hephaestus_pg.batching.batcher import Batcher


Rows = list[dict[str, Any]]
STATEMENTS = statements_of("public")


class Server:
    """Answers statements when it is told to, and keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.poison: set[str] = set()
        self.error: Exception | None = None

    async def run(self, deadline: float, statement: Statement, *arguments: Any) -> Any:
        del deadline
        ids = arguments[0] if statement.is_batch else [arguments[0]]
        self.sent.append((statement.name, ids))
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn
        if self.error is not None:
            raise self.error
        if self.poison & set(ids):
            raise RejectedError("refused", applied="no", retryable=False)
        return [{"id": id} for id in ids if not id.startswith("none")]

    def answer(self) -> None:
        """Answer the oldest statement that waits."""
        turn = self.waiting.popleft()
        if not turn.done():
            turn.set_result(None)

    async def answer_all(self) -> None:
        while True:
            await settle()
            if not self.waiting:
                return
            self.answer()


def later() -> float:
    """A deadline that does not matter."""
    return asyncio.get_running_loop().time() + 60


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def call(
    batcher: Batcher, statement: str, *arguments: Any, deadline: float | None = None
) -> asyncio.Task[Any]:
    async def caller() -> Any:
        return await batcher.row(
            later() if deadline is None else deadline, named(statement), *arguments
        )

    return asyncio.create_task(caller())


def named(statement: str) -> Statement:
    given: Statement | None = getattr(STATEMENTS, statement, None)
    return given or replace(STATEMENTS.get, name=statement)


def called(batcher: Batcher, statement: str, *ids: str) -> list[asyncio.Task[Any]]:
    return [call(batcher, statement, id) for id in ids]
