"""Measures runners beside queues: throughput with one and four processes, and time to start."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.load import percentile
from benchmarks.queues import QUEUES, queue
from benchmarks.queues.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

INSERTED = 100
"""Orders that are inserted one by one, from each side, for the time to start."""

_PATIENCE = 60.0
"""Seconds that a contender may take to begin or to end."""


def runners(
    server: Server,
    contenders: Sequence[str],
    *,
    processes: Sequence[int],
    rounds: int,
    seconds: float,
    part: float,
) -> Iterator[dict[str, Any]]:
    """A record for each round, contender, and number of processes or side that inserts.

    The contenders take turns in each of these, on a new database each time. ``part`` of the amounts
    is enough to see that it works.
    """
    for round_number in range(rounds):
        shift = round_number % len(contenders)
        turns = [
            (name, {"round": round_number, "contender": name})
            for name in (*contenders[shift:], *contenders[:shift])
        ]
        for number in processes:
            for name, about in turns:
                figures = _throughput(server, name, number, seconds, part)
                yield {**about, "processes": number, **figures}
        for name, about in turns:
            for inserter, figures in _starts(server, name, int(INSERTED * part)):
                yield {**about, "inserted_by": inserter, **figures}


def _throughput(
    server: Server, name: str, processes: int, seconds: float, part: float
) -> dict[str, float]:
    """Orders finished a second, and what one costs, while there are more than enough.

    From when a twentieth is finished, for so many seconds or until a twentieth is left.
    """
    backlog = int(QUEUES[name].backlog * part)
    with ExitStack() as stack:
        dsn = stack.enter_context(server.database(f"bench_{name}"))
        server.count_statements(dsn)
        working = [stack.enter_context(Process(name, dsn)) for _ in range(processes)]
        working[0].ask("install")
        _all(working, "open")
        working[0].ask("fill", backlog)
        looking = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        looking.execute("VACUUM ANALYZE")
        told = time.monotonic()
        _all(working, "work")
        finished, most = queue(name).FINISHED, backlog * 19 // 20
        began, before = _finished(looking, finished, backlog // 20, pause=0.02)
        if before >= most:  # as in a quick run: then how it begins has to count too
            began, before = told, 0
        with server.counted() as costs:
            statements = server.statements(dsn)
            cpu = sum(process.cpu() for process in working)
            ended, after = began, before
            while ended < began + seconds and after < most:
                time.sleep(min(seconds / 4, 0.25))
                ended, after = _finished(looking, finished)
            statements = server.statements(dsn) - statements
            cpu = sum(process.cpu() for process in working) - cpu
    done = after - before
    return {
        "throughput": done / (ended - began),
        "wal": costs["wal"] / done,
        "statements": statements / done,
        "client_cpu": 1000 * cpu / done,
        "server_cpu": 1000 * costs["server_cpu"] / done,
    }


def _finished(
    looking: psycopg.Connection[Any], query: str, least: int = 0, *, pause: float = 0.0
) -> tuple[float, int]:
    """When how many orders are finished, once it is that many."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        row = looking.execute(query.encode()).fetchone()
        assert row
        now = time.monotonic()
        if row[0] >= least:
            return now, row[0]
        if now > deadline:
            raise SystemExit(f"{row[0]} orders are finished of the first {least}: {query}")
        time.sleep(pause)


def _starts(server: Server, name: str, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    """From sending an insert to the start of work, in an idle system, by who inserts."""
    with ExitStack() as stack:
        dsn = stack.enter_context(server.database(f"bench_{name}"))
        worker, other = (stack.enter_context(Process(name, dsn)) for _ in range(2))
        worker.ask("install")
        _all([worker, other], "open")
        worker.ask("work")
        worker.ask("insert", 0, 1)  # it works by then
        _all_started(worker, 1)
        for turn, (side, inserter) in enumerate(
            {"by its own process": worker, "by another": other}.items()
        ):
            first = 1 + turn * count
            sent = {int(number): at for number, at in inserter.ask("insert", first, count).items()}
            started = _all_started(worker, first + count)
            waits = sorted(1000 * (started[number] - at) for number, at in sent.items())
            figures = {f"p{part:g}": percentile(waits, part / 100) for part in (50, 99)}
            yield side, {**figures, "worst": waits[-1]}


def _all_started(worker: Process, count: int) -> dict[int, float]:
    deadline = time.monotonic() + _PATIENCE
    while len(started := worker.ask("started")) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(started)} orders have begun of {count}")
        time.sleep(0.05)
    return {int(number): at for number, at in started.items()}


def _all(processes: Sequence[Process], command: str) -> None:
    for process in processes:
        process.tell(command)
    for process in processes:
        process.answer()
