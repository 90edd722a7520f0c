"""One process of a contender: it inserts, or works, or both.

Commands come as lines of JSON and answers go as lines of JSON, while the event loop goes on.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.child import Child
from benchmarks.load import PacedLoad
from benchmarks.queues import BATCH, FOREIGN, WORKERS, Queue, queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 60.0
"""Seconds that a contender may take to begin or to end."""


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

    def all_started(self, count: int) -> dict[int, float]:
        """When work on each order began, once it has on so many."""
        started = self.until("started", lambda started: len(started) >= count)
        return {int(number): at for number, at in started.items()}

    def until(self, command: str, is_enough: Callable[[Any], bool]) -> Any:
        """The first answer that is enough."""
        deadline = time.monotonic() + PATIENCE
        while not is_enough(answer := self.ask(command)):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self._name} takes too long: {command} is {answer}")
            time.sleep(0.05)
        return answer


def tell_all(processes: Sequence[Process], command: str) -> None:
    """Give all a command at once, and wait for their answers."""
    for process in processes:
        process.tell(command)
    for process in processes:
        process.answer()


class Commands:
    """The commands that a process answers, each a method."""

    def __init__(self, chosen: Queue, dsn: str) -> None:
        self._queue = chosen
        self._dsn = dsn
        self._started: dict[int, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def install(self) -> None:
        await self._queue.install(self._dsn)

    async def open(self) -> None:
        await self._queue.open(self._dsn)

    async def fill(self, count: int) -> None:
        for start in range(0, count, BATCH):
            await self._queue.fill([*range(start, min(start + BATCH, count))])

    async def work(self) -> None:
        """Begin to work; errors of that end the process."""
        self._tasks.append(asyncio.create_task(self._queue.work(self._note)))

    def _note(self, number: int) -> None:
        self._started[number] = time.monotonic()

    async def insert(
        self, first: int, count: int, shortest: float, longest: float
    ) -> dict[int, float]:
        """Insert orders one by one; when each was sent, by a clock that the machine shares.

        The seconds between two of them are random, lest they beat in time with something.
        One that takes long keeps none back: it would hide how long they would have taken.
        """
        sent = {}
        async with asyncio.TaskGroup() as inserts:
            for number in range(first, first + count):
                await asyncio.sleep(random.uniform(shortest, longest))
                sent[number] = time.monotonic()
                inserts.create_task(self._queue.insert(number))
        return sent

    async def write(self, first: int, rate: float, together: int) -> None:
        """Begin to write what is no work; errors of that end the process.

        So many a second, so many of them with each call, in a range that is this process's own.
        """

        async def call(caller: int, turn: int) -> None:
            own = first + caller * FOREIGN
            await self._queue.write_foreign(
                [own + (turn * together + each) % FOREIGN for each in range(together)]
            )

        self._foreign = PacedLoad(call, WORKERS, rate / together)
        self._together = together
        self._tasks.append(asyncio.create_task(self._foreign.run()))

    async def written(self) -> int:
        """The number of those writes so far."""
        self._check()
        return self._foreign.calls * self._together

    async def started(self) -> dict[int, float]:
        """When work on each order began, in this process."""
        self._check()
        return self._started

    def _check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()


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
