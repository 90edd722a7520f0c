"""Measures what Python's garbage collector takes of the client's time, ours and asyncpg's."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import Server

CLIENTS = ("ours", "asyncpg")
OPERATIONS = ("get", "put", "query")
CALLERS = 64

USUAL = "Python's default, what the process began with frozen"
CASES: dict[str, tuple[int | None, bool]] = {
    USUAL: (None, True),
    "not frozen": (None, False),
    "frozen, and a threshold of 50,000": (50_000, True),
}
"""The threshold of the youngest generation, and whether what there was at the beginning, as the
orders that the load puts, is left out of collections."""


def garbage(server: Server, *, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """A record for each round, operation, client and setting, the settings in turns."""
    with ExitStack() as stack:
        workers = {}
        for name in CLIENTS:
            dsn = stack.enter_context(server.database(f"bench_{name}"))
            workers[name] = stack.enter_context(Worker(name, "1kb", dsn))
        for operation in OPERATIONS:
            for name, worker in workers.items():
                worker.prepare(operation, CALLERS, seconds / 4)
                for round_number in range(rounds):
                    for case in (list(CASES), list(reversed(CASES)))[round_number % 2]:
                        worker.collect(*CASES[case])
                        yield {
                            "round": round_number,
                            "operation": operation,
                            "client": name,
                            "contender": case,
                            **worker.run(seconds),
                        }
                worker.finish(operation)
