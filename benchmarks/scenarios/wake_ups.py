"""Measures the time from an insert to the start of work, idle and beside other writes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.load import percentile
from benchmarks.queues import FOREIGN, WORKERS
from benchmarks.queues.process import Process, tell_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

INSERTED = 300
"""Orders that are inserted one by one, in each case."""

OFTEN = (0.005, 0.025)
"""Seconds between two of them: mostly less than there are between two of our notifications."""

SELDOM = (0.025, 0.075)
"""Seconds between two that do not wait for each other's notification."""

WRITES = 5_000
"""Other writes a second."""

WRITERS = 2
"""Processes that share those."""

BESIDE = {
    f"by another, beside {WRITES:,} writes/s": 1,
    f"by another, beside {WRITES:,} writes/s, {FOREIGN} a call": FOREIGN,
}
"""The cases with those, and how many of them one call makes."""

WARM_UP = 10
"""Orders after which everybody is awake."""

WARM_UP_SECONDS = 1.0
"""Seconds for which others write before it counts."""


def wake_ups(
    server: Server, contenders: Sequence[str], *, rounds: int, part: float
) -> Iterator[dict[str, Any]]:
    """A record for each round, contender and case: the time from an insert to the start of work.

    The contenders take turns, on a new database each time. ``part`` of the orders is enough to see
    that it works.
    """
    for round_number in range(rounds):
        shift = round_number % len(contenders)
        for name in (*contenders[shift:], *contenders[:shift]):
            for case, figures in _cases(server, name, part):
                yield {"round": round_number, "contender": name, "case": case, **figures}


def _cases(server: Server, name: str, part: float) -> Iterator[tuple[str, dict[str, float]]]:
    count = int(INSERTED * part)
    with ExitStack() as stack:
        dsn = stack.enter_context(server.database(f"bench_{name}"))
        worker, other = (stack.enter_context(Process(name, dsn)) for _ in range(2))
        worker.ask("install")
        tell_all([worker, other], "open")
        worker.ask("work")
        waits = _Waits(worker)
        waits.of(other, WARM_UP, OFTEN)
        yield "by its own process", waits.of(worker, count, OFTEN)
        yield "by another", waits.of(other, count, OFTEN)
        yield "by another, seldom", waits.of(other, count // 3, SELDOM)
        for case, together in BESIDE.items():
            with ExitStack() as writing:
                writers = [writing.enter_context(Process(name, dsn)) for _ in range(WRITERS)]
                tell_all(writers, "open")
                for number, writer in enumerate(writers):
                    first = (1 + number) * WORKERS * FOREIGN
                    writer.ask("write", first, WRITES / WRITERS, together)
                time.sleep(WARM_UP_SECONDS * part)
                began, before = time.monotonic(), _written(writers)
                figures = waits.of(other, count, OFTEN)
                rate = (_written(writers) - before) / (time.monotonic() - began)
            yield case, {**figures, "writes": rate}


class _Waits:
    """The times until a worker starts on what is inserted, one order after another."""

    def __init__(self, worker: Process) -> None:
        self._worker = worker
        self._inserted = 0

    def of(self, inserter: Process, count: int, pace: tuple[float, float]) -> dict[str, float]:
        """Inserts so many more: their percentiles in milliseconds."""
        inserted = inserter.ask("insert", self._inserted, count, *pace)
        self._inserted += count
        started = self._worker.all_started(self._inserted)
        waits = sorted(1000 * (started[int(number)] - at) for number, at in inserted.items())
        figures = {f"p{part:g}": percentile(waits, part / 100) for part in (50, 99)}
        return {**figures, "worst": waits[-1], "writes": 0.0}


def _written(writers: Sequence[Process]) -> int:
    return sum(writer.ask("written") for writer in writers)
