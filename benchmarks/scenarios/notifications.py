"""Measures what notifications cost: the whole server, and the process that writes."""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.listening import CHANNEL, listening
from benchmarks.pgbench import pgbench, sample
from benchmarks.states import order, text
from benchmarks.worker import Worker
from hephaestus_pg import _sql, migrations
from hephaestus_pg.watch.news import News
from hephaestus_pg.watch.notifier import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor, Future

    from benchmarks.server import Server

    Transactions = list[tuple[float, float]]

PROCESSES = 32
"""Connections of pgbench that write, each for a process."""

CALLERS = (1, 64)
OPERATIONS = ("put", "update")

QUIET = "nobody listens"

_ORDERS = 64
"""Orders of each process."""

_PATIENCE = 30.0


class Case(NamedTuple):
    """How many listen, and whether each commit notifies them, by a trigger."""

    listeners: int
    each_commit: bool = False


CASES = {
    QUIET: Case(0),
    "one listens": Case(1),
    f"{PROCESSES} listen": Case(PROCESSES),
    "one listens, NOTIFY in each commit": Case(1, each_commit=True),
}

_PARAMETERS = {
    "$1": "('order::' || (:client_id::integer * 1000000 + :number::integer))",
    "$2": "'Shop.Orders.Fulfil0'",
    "$3": "'running'",
    "$4": "1",
    "$5": "NULL",
    # The turn makes every state a new one: an update to an equal state would not touch an index.
    "$6": "('{\"turn\":' || :turn::text || ',' || :state::text)",
}

_STATEMENT = re.sub(r"[$]\d", lambda at: _PARAMETERS[at[0]], _sql.statement("put", "public"))

PUT = f"""
\\set number random(1, {_ORDERS})
\\set turn random(1, 1000)
{_STATEMENT};
"""
"""The statement of ``put``, with values of pgbench's."""

NOTIFY = re.sub(
    r"[$]\d",
    lambda at: {"$1": "ARRAY[:channel]", "$2": "ARRAY[:payload]"}[at[0]],
    _sql.statement("notify", "public"),
)

_TRIGGER = f"""
CREATE FUNCTION notify_of_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_of_write AFTER INSERT OR UPDATE ON workflow_instances
FOR EACH ROW EXECUTE FUNCTION notify_of_write();
ALTER TABLE workflow_instances DISABLE TRIGGER notify_of_write;
"""

_NOTIFYING = "notifying"


def notifications(
    server: Server, *, rounds: int, seconds: float, pairs: int
) -> Iterator[dict[str, Any]]:
    """Records of the server's part, each case once a round, then of the writing process's part.

    The latter has ``pairs`` of runs a round, with a listener and without, each pair a round of its
    own: what is looked for is small beside what disturbs a machine.
    """
    with server.database("bench_notified") as dsn:
        asyncio.run(migrations.up(dsn))
        with psycopg.connect(dsn) as connection:
            connection.execute(_TRIGGER.encode())
        names = list(CASES)
        for round_number in range(rounds):
            shift = round_number % len(names)
            for name in (*names[shift:], *names[:shift]):
                figures = _commits(server, dsn, CASES[name], 10 * seconds)
                yield {"round": round_number, "contender": name, **figures}
    yield from _writing(server, rounds=rounds, seconds=seconds, pairs=pairs)


def _commits(server: Server, dsn: str, case: Case, seconds: float) -> dict[str, float]:
    """What 32 processes commit, while each of them notifies as often as it may."""
    state = text(order(0, 2, "1kb")).decode()[1:]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE workflow_instances")
        change = "ENABLE" if case.each_commit else "DISABLE"
        connection.execute(
            f"ALTER TABLE workflow_instances {change} TRIGGER notify_of_write".encode()
        )
    with listening(dsn, case.listeners), ThreadPoolExecutor(1) as beside:
        notifying = None
        if case.listeners and not case.each_commit:
            notifying = _notifying(server, beside, dsn, seconds + 2)
        with server.counted() as costs:
            puts = pgbench(
                server.programs / "pgbench",
                dsn,
                PUT,
                clients=PROCESSES,
                seconds=seconds,
                definitions={"state": state},
            )
        notified = notifying.result() if notifying is not None else []
    figures = sample(puts, cpu=0.0).figures()
    began, ended = min(began for began, _ in puts), max(ended for _, ended in puts)
    during = len(puts) if case.each_commit else sum(began <= at <= ended for _, at in notified)
    return {
        "throughput": figures["throughput"],
        "p50": figures["p50"],
        "p99": figures["p99"],
        "notified": during / (ended - began),
        "server_cpu": 1000 * costs["server_cpu"] / len(puts),
    }


def _notifying(server: Server, beside: Executor, dsn: str, seconds: float) -> Future[Transactions]:
    """Begins to notify, by a connection for each process."""
    future = beside.submit(
        pgbench,
        server.programs / "pgbench",
        make_conninfo(dsn, application_name=_NOTIFYING),
        NOTIFY,
        f"--rate={PROCESSES / INTERVAL:g}",
        clients=PROCESSES,
        seconds=seconds,
        definitions={"channel": CHANNEL, "payload": _payload()},
    )
    deadline = time.monotonic() + _PATIENCE
    with psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [_NOTIFYING]
            ).fetchone()
            assert row
            if row[0] == PROCESSES:
                return future
            if time.monotonic() > deadline:
                raise SystemExit(f"{row[0]} of {PROCESSES} processes notify")
            time.sleep(0.01)


def _payload() -> str:
    """The news of the few writes that a process makes between two notifications."""
    news = News({order(number, 0, "1kb").id for number in range(4)}, has_work=True)
    return news.payload("benchmark")


def _writing(
    server: Server, *, rounds: int, seconds: float, pairs: int
) -> Iterator[dict[str, Any]]:
    cases = {QUIET: 0, "one listens": 1}
    for round_number in range(rounds):
        with (
            server.database("bench_ours") as dsn,
            Worker("ours", "1kb", dsn) as worker,
        ):
            for operation in OPERATIONS:
                for callers in CALLERS:
                    worker.prepare(operation, callers, seconds / 2)
                    for pair in range(round_number * pairs, (round_number + 1) * pairs):
                        about = {"round": pair, "operation": operation, "callers": callers}
                        for name in (list(cases), list(reversed(cases)))[pair % 2]:
                            with listening(dsn, cases[name]):
                                figures = worker.run(seconds)
                            yield {**about, "contender": name, **figures}
                    worker.finish(operation)
