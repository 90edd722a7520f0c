"""Measures the server alone: the upsert, sent by PostgreSQL's own load generator in C.

One row a statement, from as many clients as there are callers, 64 at the most; or what the callers
have under way divided among four clients, many rows a statement. The first is the limit of who
sends each call by itself, the second that of who gathers them.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.load import Sample
from benchmarks.states import STAGES, order, text
from benchmarks.workload import ORDERS
from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.server import Server

CONNECTIONS = 4
MAX_CLIENTS = 64

# Exec takes two megabytes of arguments, on Linux.
_MAX_ARGUMENTS = 1_500_000

# The turn makes every state a new one: an update to an equal state would not touch an index.
_SCRIPT = """
\\set base random(0, {orders} / :clients - {rows})
\\set turn random(1, 1000)
INSERT INTO workflow_instances AS held (
    id, workflow, status, workflow_version, state, inserted_at, updated_at
)
SELECT
    'order::' || (:client_id::integer * 1000000 + :base::integer + n),
    'Shop.Orders.Fulfil' || n % 40,
    'running',
    1,
    ('{{"turn":' || :turn::text || ',' || state)::jsonb,
    now() AT TIME ZONE 'UTC',
    now() AT TIME ZONE 'UTC'
FROM unnest(ARRAY[{states}]::text[]) WITH ORDINALITY AS given (state, n)
ON CONFLICT (id) DO UPDATE SET
    workflow = EXCLUDED.workflow,
    status = EXCLUDED.status,
    state = EXCLUDED.state,
    updated_at = EXCLUDED.updated_at,
    revision = held.revision + 1
RETURNING id, workflow_version, revision, inserted_at, updated_at;
"""


class PgBench:
    """Has a worker's commands."""

    def __init__(self, server: Server, size: str, dsn: str, *, batched: bool) -> None:
        self._program = server.programs / "pgbench"
        self._size = size
        self._dsn = dsn
        self._batched = batched
        asyncio.run(migrations.up(dsn))

    def prepare(self, operation: str, callers: int, warm_up: float) -> None:
        """Choose clients and rows."""
        assert operation == "put"
        self._clients = min(callers, CONNECTIONS if self._batched else MAX_CLIENTS)
        together = callers // self._clients if self._batched else 1
        largest = len(text(order(0, STAGES - 1, self._size)))
        self._rows = min(together, _MAX_ARGUMENTS // largest - 1)

    def run(self, seconds: float) -> dict[str, float]:
        """Load for about that long; pgbench knows whole seconds only."""
        states = [
            text(order(number, number % STAGES, self._size)).decode()
            for number in range(self._rows)
        ]
        definitions = {f"s{number}": state[1:] for number, state in enumerate(states)}
        definitions["clients"] = str(self._clients)
        script = _SCRIPT.format(
            orders=ORDERS[self._size],
            rows=self._rows,
            states=", ".join(f":s{number}" for number in range(self._rows)),
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        transactions = pgbench(
            self._program,
            self._dsn,
            script,
            clients=self._clients,
            seconds=seconds,
            definitions=definitions,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return sample(transactions, rows=self._rows, cpu=cpu).figures()

    def finish(self, operation: str) -> None:
        """Empty the table."""
        with psycopg.connect(self._dsn) as connection:
            connection.execute("TRUNCATE workflow_instances")


def pgbench(
    program: Path,
    dsn: str,
    script: str,
    *options: str,
    clients: int,
    seconds: float,
    definitions: Mapping[str, str],
) -> list[tuple[float, float]]:
    """Runs a script for about that long: when each transaction began and ended."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "script.sql")
        file.write_text(script)
        subprocess.run(
            [
                program, "--no-vacuum", "--protocol=prepared", f"--file={file}",
                f"--client={clients}", f"--jobs={min(2, clients)}",
                f"--time={max(1, round(seconds))}", "--log", f"--log-prefix={folder}/log",
                *(f"--define={name}={value}" for name, value in definitions.items()),
                *options,
                dsn,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        logged = [
            line.split()
            for log in Path(folder).glob("log.*")
            for line in log.read_text().splitlines()
        ]
    ended = [int(line[4]) + int(line[5]) / 1e6 for line in logged]
    return [(end - int(line[2]) / 1e6, end) for end, line in zip(ended, logged, strict=True)]


def sample(transactions: Sequence[tuple[float, float]], *, rows: int = 1, cpu: float) -> Sample:
    """The figures of a run, from when the first one began, so that connecting is not counted."""
    began, ended = min(began for began, _ in transactions), max(ended for _, ended in transactions)
    latencies = [ended - began for began, ended in transactions]
    return Sample(rows * len(transactions), ended - began, cpu, latencies)
