"""One contender in a process of its own, so that the CPU it takes is its own.

Commands come as lines of JSON, answers go as lines of JSON. Between two commands the event loop
stands still, so that a contender whose turn it is not takes nothing from the one whose it is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Self

from benchmarks.child import Child
from benchmarks.contenders import contender
from benchmarks.workload import Workload

_USUAL_THRESHOLD = gc.get_threshold()[0]


class Worker(Child):
    """The other side: starts the process and asks it."""

    def __init__(self, name: str, size: str, dsn: str) -> None:
        super().__init__(name, "benchmarks.worker", name, size, dsn)

    def __enter__(self) -> Self:
        self.answer()  # that it has begun
        return self

    def prepare(self, operation: str, callers: int, warm_up: float) -> None:
        """Fill the tables as the operation needs it, and load without a clock for a while."""
        self.ask("prepare", operation, callers, warm_up)

    def run(self, seconds: float) -> dict[str, float]:
        """Load with what was prepared: the figures of a sample."""
        figures: dict[str, float] = self.ask("run", seconds)
        return figures

    def collect(self, threshold: int | None, frozen: bool) -> None:
        """Collect garbage like that from now on: with another threshold, or of everything."""
        self.ask("collect", threshold, frozen)

    def finish(self, operation: str) -> None:
        """Empty what the operation wrote."""
        self.ask("finish", operation)


async def _serve(name: str, size: str, dsn: str) -> None:
    chosen = contender(name)
    await chosen.start(dsn)
    workload = Workload(chosen, size)
    print(json.dumps(None), flush=True)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        answer = None
        if command == "prepare":
            load = await workload.prepared(dsn, *arguments)
        elif command == "run":
            answer = (await load.run(*arguments)).figures()
        elif command == "collect":
            _collect(*arguments)
        else:
            await workload.finish(dsn, *arguments)
        print(json.dumps(answer), flush=True)
    await chosen.close()


def _collect(threshold: int | None, frozen: bool) -> None:
    gc.set_threshold(threshold or _USUAL_THRESHOLD, *gc.get_threshold()[1:])
    gc.unfreeze()
    gc.collect()
    if frozen:
        gc.freeze()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
