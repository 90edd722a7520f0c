"""Measures puts under each index profile, so the cost of indexing the whole state."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.load import Load
from benchmarks.states import STAGES, order
from hephaestus_pg import (
    AsyncStorage,
    Names,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import Server
    from hephaestus_pg import Instance

PROFILES = ("full", "initial", "none")
CALLERS = 64

_ORDERS = 8 * 1024

_USE = """
SELECT
    n_tup_hot_upd::float8 / greatest(n_tup_upd, 1),
    pg_total_relation_size(relid) / 1048576.0,
    pg_indexes_size(relid) / 1048576.0
FROM pg_stat_user_tables
WHERE relname = 'workflow_instances'
"""


def profiles(server: Server, *, rounds: int, seconds: float, puts: int) -> Iterator[dict[str, Any]]:
    """A record for each round and profile, of ``seconds`` of load; sizes are after ``puts``."""
    orders = [[order(number, stage, "1kb") for number in range(_ORDERS)] for stage in range(STAGES)]
    for round_number in range(rounds):
        for profile in PROFILES:
            with server.database("bench_profiles") as dsn:
                asyncio.run(migrations.up(dsn))
                subprocess.run(
                    [
                        *(sys.executable, "-m", "hephaestus_pg.migrate", "index", profile),
                        *("--dsn", dsn),
                    ],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                figures = asyncio.run(_measure(server, dsn, orders, seconds, puts))
                with psycopg.connect(dsn) as connection:
                    use = connection.execute(_USE).fetchone()
                assert use
                hot, size, indexes = map(float, use)
            yield {
                "round": round_number,
                "contender": profile,
                "puts": puts,
                **figures,
                "hot": hot,
                "size": size,
                "indexes": indexes,
            }


async def _measure(
    server: Server, dsn: str, orders: list[list[Instance]], seconds: float, puts: int
) -> dict[str, float]:
    async with AsyncStorage.start(dsn, name="profiles", references=Names()) as storage:

        async def put(caller: int, turn: int) -> int:
            stage, position = divmod(turn * CALLERS + caller, _ORDERS)
            await storage.put(orders[stage % STAGES][position])
            return 1

        load = Load(put, CALLERS)
        done = (await load.run(seconds / 4)).instances
        with server.counted() as costs:
            figures = (await load.run(seconds)).figures()
        done += int(figures["instances"])
        while done < puts:
            done += (await load.run(0.5)).instances
    return {
        **figures,
        "server_cpu": 1000 * costs["server_cpu"] / figures["instances"],
        "wal": costs["wal"] / figures["instances"],
    }
