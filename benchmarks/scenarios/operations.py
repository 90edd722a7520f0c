"""Measures every operation of every contender, by number of callers and size of states."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS
from benchmarks.pgbench import PgBench
from benchmarks.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

Cell = tuple[str, str, int]
"""Size of the states, operation, number of callers."""


def operations(
    server: Server,
    cells: Sequence[Cell],
    contenders: Sequence[str],
    *,
    rounds: int,
    seconds: float,
) -> Iterator[dict[str, Any]]:
    """A record for each round, cell (size, operation, callers) and contender.

    The contenders take turns within a cell, so that what disturbs the machine disturbs them alike;
    each round begins with another one, on a database that is new.
    """
    for round_number in range(rounds):
        shift = round_number % len(contenders)
        turns = [*contenders[shift:], *contenders[:shift]]
        for size in dict.fromkeys(cell[0] for cell in cells):
            with ExitStack() as stack:
                workers: dict[str, Worker | PgBench] = {}
                for name in turns:
                    dsn = stack.enter_context(server.database(f"bench_{name}"))
                    workers[name] = _started(stack, server, name, size, dsn)
                for _, operation, callers in (cell for cell in cells if cell[0] == size):
                    for name in turns:
                        if operation not in CONTENDERS[name].operations:
                            continue
                        yield {
                            "round": round_number,
                            "size": size,
                            "operation": operation,
                            "callers": callers,
                            "contender": name,
                            **_run(server, workers[name], operation, callers, seconds),
                        }


def _started(stack: ExitStack, server: Server, name: str, size: str, dsn: str) -> Worker | PgBench:
    if name.startswith("server"):
        return PgBench(server, size, dsn, batched=name == "server")
    return stack.enter_context(Worker(name, size, dsn))


def _run(
    server: Server, worker: Worker | PgBench, operation: str, callers: int, seconds: float
) -> dict[str, float]:
    worker.prepare(operation, callers, seconds / 4)
    with server.counted() as costs:
        figures = worker.run(seconds)
    worker.finish(operation)
    return figures | {
        "server_cpu": 1000 * costs["server_cpu"] / figures["instances"],
        "wal": costs["wal"] / figures["instances"],
    }
