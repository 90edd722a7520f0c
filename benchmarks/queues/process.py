"""One process of a contender: it inserts, or works, or both.

Commands come as lines of JSON and answers go as lines of JSON, while the event loop goes on.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import psutil

from benchmarks.child import Child
from benchmarks.queues import BATCH, Queue, queue

PACE = (0.005, 0.025)
"""Seconds between two orders that are inserted one by one: at random, lest they beat in time."""


class Process(Child):
    """The other side: starts the process and asks it, and kills it at its work."""

    def __init__(self, name: str, dsn: str) -> None:
        super().__init__(name, "benchmarks.queues.process", name, dsn)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        super().__exit__()

    def cpu(self) -> float:
        """Seconds of CPU that it has taken."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)


class Commands:
    """The commands that a process answers, each a method."""

    def __init__(self, chosen: Queue, dsn: str) -> None:
        self._queue = chosen
        self._dsn = dsn
        self._started: dict[int, float] = {}
        self._working: asyncio.Task[None] | None = None

    async def install(self) -> None:
        await self._queue.install(self._dsn)

    async def open(self) -> None:
        await self._queue.open(self._dsn)

    async def fill(self, count: int) -> None:
        for start in range(0, count, BATCH):
            await self._queue.fill([*range(start, min(start + BATCH, count))])

    async def work(self) -> None:
        """Begin to work; errors of that end the process."""
        self._working = asyncio.create_task(self._queue.work(self._note))

    def _note(self, number: int) -> None:
        self._started[number] = time.monotonic()

    async def insert(self, first: int, count: int) -> dict[int, float]:
        """Insert orders one by one; when each was sent, by a clock that the machine shares."""
        sent = {}
        for number in range(first, first + count):
            await asyncio.sleep(random.uniform(*PACE))
            sent[number] = time.monotonic()
            await self._queue.insert(number)
        return sent

    async def started(self) -> dict[int, float]:
        """When work on each order began, in this process."""
        if self._working is not None and self._working.done():
            self._working.result()
        return self._started


async def _serve(chosen: Queue, dsn: str) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    commands = Commands(chosen, dsn)
    while line := await lines.readline():
        command, arguments = json.loads(line)
        print(json.dumps(await getattr(commands, command)(*arguments)), flush=True)


def _main(name: str, dsn: str) -> None:
    chosen = queue(name)
    if chosen.uvloop:
        import uvloop

        uvloop.run(_serve(chosen, dsn))
    else:
        asyncio.run(_serve(chosen, dsn))


if __name__ == "__main__":
    _main(*sys.argv[1:])
