"""One contender in a process of its own, so that the CPU it takes is its own.

Commands come as lines of JSON, answers go as lines of JSON. Between two commands the event loop
stands still, so that a contender whose turn it is not takes nothing from the one whose it is.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any, Self

from benchmarks.contenders import contender
from benchmarks.workload import Workload


class Worker:
    """The other side: starts the process and asks it."""

    def __init__(self, name: str, size: str, dsn: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name, size, dsn],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def prepare(self, operation: str, callers: int, warm_up: float) -> None:
        """Fill the tables as the operation needs it, and load without a clock for a while."""
        self._ask("prepare", operation=operation, callers=callers, warm_up=warm_up)

    def run(self, seconds: float) -> dict[str, float]:
        """Load with what was prepared: the figures of a sample."""
        figures: dict[str, float] = self._ask("run", seconds=seconds)
        return figures

    def finish(self, operation: str) -> None:
        """Empty what the operation wrote."""
        self._ask("finish", operation=operation)

    def _ask(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self._name} ended")
        return json.loads(line)


async def _serve(name: str, size: str, dsn: str) -> None:
    chosen = contender(name)
    await chosen.start(dsn)
    workload = Workload(chosen, size)
    print(json.dumps(None), flush=True)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        answer = None
        if command == "prepare":
            load = await workload.prepared(dsn, **arguments)
        elif command == "run":
            answer = (await load.run(**arguments)).figures()
        else:
            await workload.finish(**arguments, dsn=dsn)
        print(json.dumps(answer), flush=True)
    await chosen.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
