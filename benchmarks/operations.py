"""Every operation, by every contender, under as many callers and with states as large as asked."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server


def rounds(
    server: Server,
    cells: Sequence[tuple[str, str, int]],
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
                workers = {}
                for name in turns:
                    dsn = stack.enter_context(server.database(f"bench_{name}"))
                    workers[name] = stack.enter_context(Worker(name, size, dsn))
                for _, operation, callers in (cell for cell in cells if cell[0] == size):
                    for name in turns:
                        yield {
                            "round": round_number,
                            "size": size,
                            "operation": operation,
                            "callers": callers,
                            "contender": name,
                            **_run(server, workers[name], operation, callers, seconds),
                        }


def _run(
    server: Server, worker: Worker, operation: str, callers: int, seconds: float
) -> dict[str, float]:
    worker.ask("prepare", operation=operation, callers=callers, warm_up=seconds / 4)
    with server.counted() as costs:
        figures: dict[str, float] = worker.ask("run", seconds=seconds)
    worker.ask("finish", operation=operation)
    return figures | {
        "server_cpu": 1000 * costs["server_cpu"] / figures["instances"],
        "wal": costs["wal"] / figures["instances"],
    }
