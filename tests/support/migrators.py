"""Processes that migrate, many at once or killed on their way, forked from one that is ready.

``python -m tests.support.migrators DSN`` answers each line on standard input, ``together SCHEMA
COUNT`` or ``kill SCHEMA WORK NTH DELAY``, with a line of exit codes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from asyncpg.connection import Connection

from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Work = Callable[[str, str], Awaitable[Any]]

WORKS: dict[str, Work] = {
    "up": lambda dsn, schema: migrations.up(dsn, schema=schema, online=False),
    "online": lambda dsn, schema: migrations.up(dsn, schema=schema, online=True),
    "down": lambda dsn, schema: migrations.down(
        dsn, schema=schema, version=0, allow_row_loss=True, allow_version_loss=True
    ),
}


def _die_at(nth: int, delay: float) -> None:
    """Ends this process by SIGKILL, ``delay`` seconds after the nth statement began."""
    begun = 0

    def counted(method: Any) -> Any:
        async def statement(*arguments: Any, **options: Any) -> Any:
            nonlocal begun
            begun += 1
            if begun == nth:
                loop = asyncio.get_running_loop()
                loop.call_later(delay, os.kill, os.getpid(), signal.SIGKILL)
            return await method(*arguments, **options)

        return statement

    # All statements, BEGIN and COMMIT too, go through one of these two.
    for name in ("execute", "_execute"):
        setattr(Connection, name, counted(getattr(Connection, name)))


def _child(work: Work, dsn: str, schema: str, *, gate: int) -> None:
    code = 1
    try:
        os.read(gate, 1)
        asyncio.run(work(dsn, schema))  # type: ignore[arg-type]
        code = 0
    finally:
        os._exit(code)


def main(dsn: str) -> None:
    for line in sys.stdin:
        order, schema, *rest = line.split()
        gate, held = os.pipe()
        children = []
        for _ in range(int(rest[0]) if order == "together" else 1):
            if child := os.fork():
                children.append(child)
                continue
            os.close(held)
            if order == "kill":
                _die_at(int(rest[1]), float(rest[2]))
            _child(WORKS["up" if order == "together" else rest[0]], dsn, schema, gate=gate)
        os.close(gate)
        os.close(held)  # which lets all of them start
        statuses = [os.waitpid(child, 0)[1] for child in children]
        print(*map(os.waitstatus_to_exitcode, statuses), flush=True)


class Migrators:
    """The process that forks them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def started(cls, dsn: str) -> AsyncIterator[Migrators]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.support.migrators", dsn),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,
        )
        try:
            yield cls(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and those that it has forked
            await process.wait()

    async def order(self, *words: object) -> list[int]:
        """Sends an order, and returns the exit codes of the processes that carried it out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        return [int(code) for code in (await self._process.stdout.readline()).split()]


if __name__ == "__main__":
    main(sys.argv[1])
