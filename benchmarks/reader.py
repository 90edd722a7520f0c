"""One contender that reads a large table, in a process of its own. See :mod:`benchmarks.worker`."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import TYPE_CHECKING, Self

from benchmarks.child import Child
from benchmarks.contenders import PAGE, contender
from benchmarks.load import Load
from benchmarks.states import build

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.contenders import Contender

_TURNS = 4096


class Reader(Child):
    """The other side: starts the process and asks it."""

    def __init__(self, name: str, dsn: str, rows: int) -> None:
        super().__init__(name, "benchmarks.reader", name, dsn, str(rows))

    def __enter__(self) -> Self:
        self.answer()  # that it has begun
        return self

    def run(self, callers: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
        """Reads with so many callers of each operation at once: the figures of each."""
        figures: dict[str, dict[str, float]] = self.ask("run", callers, seconds)
        return figures


class _Reads:
    """The operations, each call with something else to read."""

    def __init__(self, reading: Contender, rows: int) -> None:
        chosen = random.Random(rows)
        numbers = [chosen.randrange(rows) for _ in range(_TURNS)]
        instances = [build(number, 0, lines=0) for number in numbers]
        ids = [instance.id for instance in instances]
        # The last pages of the table may have fewer instances.
        before = [build(number * 9 // 10, 0, lines=0) for number in numbers]
        places = [reading.place(instance) for instance in before]
        groups = [chosen.sample(ids, PAGE) for _ in range(_TURNS // 16)]
        self.operations: dict[str, Callable[[int], Awaitable[int]]] = {
            "get": lambda turn: reading.get(ids[turn % len(ids)]),
            "page": lambda turn: reading.page(places[turn % len(places)]),
            "get_many": lambda turn: reading.get_many(groups[turn % len(groups)]),
        }

    def load(self, operation: str, callers: int) -> Load:
        call = self.operations[operation]
        return Load(lambda caller, turn: call(caller * 61 + turn), callers)


async def _serve(name: str, dsn: str, rows: str) -> None:
    reading = contender(name)
    await reading.start(dsn)
    reads = _Reads(reading, int(rows))
    print(json.dumps(None), flush=True)
    for line in sys.stdin:
        _, (callers, seconds) = json.loads(line)
        loads = [reads.load(operation, number) for operation, number in callers.items()]
        await asyncio.gather(*(load.run(seconds / 4) for load in loads))  # connections, statements
        samples = await asyncio.gather(*(load.run(seconds) for load in loads))
        figures = [sample.figures() for sample in samples]
        print(json.dumps(dict(zip(callers, figures, strict=True))), flush=True)
    await reading.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
