"""Measures the throughput of runners beside queues, with one process and with four."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.queues import QUEUES, queue
from benchmarks.queues.process import PATIENCE, Process, tell_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server


def runners(
    server: Server,
    contenders: Sequence[str],
    *,
    processes: Sequence[int],
    rounds: int,
    seconds: float,
    part: float,
) -> Iterator[dict[str, Any]]:
    """A record for each round, contender, and number of processes.

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
        tell_all(working, "open")
        working[0].ask("fill", backlog)
        looking = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        looking.execute("VACUUM ANALYZE")
        told = time.monotonic()
        tell_all(working, "work")
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
            if after == before:  # as in a quick run on a busy machine
                ended, after = _finished(looking, finished, before + 1)
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
    deadline = time.monotonic() + PATIENCE
    while True:
        row = looking.execute(query.encode()).fetchone()
        assert row
        now = time.monotonic()
        if row[0] >= least:
            return now, row[0]
        if now > deadline:
            raise SystemExit(f"{row[0]} orders are finished of the first {least}: {query}")
        time.sleep(pause)
