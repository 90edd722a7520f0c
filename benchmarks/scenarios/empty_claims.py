"""Measures how often a claim comes back empty, by what all processes reach for."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from benchmarks.claimable import CLAIM, CLAIMED, FILL, REGISTER, WORKFLOWS
from hephaestus_pg import migrations
from hephaestus_pg.runners.reach import SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Barrier

    from benchmarks.server import Server

PROCESSES = 8
ROWS = 2_000

START_SECONDS = 60.0
"""Seconds within which all processes must be there."""

_together: Barrier


def empty_claims(server: Server, *, rounds: int) -> Iterator[dict[str, Any]]:
    """A record for each round and choice: how many claims of 8 processes come back empty."""
    context = get_context("spawn")
    together = context.Barrier(PROCESSES, timeout=START_SECONDS)
    with (
        ProcessPoolExecutor(
            PROCESSES, mp_context=context, initializer=_meet_at, initargs=(together,)
        ) as processes,
        server.database("bench_empty") as dsn,
    ):
        asyncio.run(migrations.up(dsn))
        for round_number in range(rounds):
            for choice, spread in {"the first 50": 1, "50 at random of 200": SPREAD}.items():
                asyncio.run(_refill(dsn))
                taken = [
                    each.result()
                    for each in [
                        processes.submit(_claim_all, dsn, spread) for _ in range(PROCESSES)
                    ]
                ]
                yield {
                    "round": round_number,
                    "contender": choice,
                    "claims": float(sum(claims for claims, _, _ in taken)),
                    "empty": sum(none for _, none, _ in taken)
                    / sum(claims for claims, _, _ in taken),
                    "throughput": ROWS / max(seconds for _, _, seconds in taken),
                }


async def _refill(dsn: str) -> None:
    """Put rows there that can be claimed, and no others."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE workflow_instances")
    await connection.execute(FILL, "free::", WORKFLOWS, "running", None, None, ROWS)
    await connection.execute("VACUUM ANALYZE workflow_instances")
    await connection.close()


def _meet_at(barrier: Barrier) -> None:
    """Begin to claim when all processes are about to."""
    global _together  # noqa: PLW0603 - a process inherits a barrier, it can't be sent one later
    _together = barrier


def _claim_all(dsn: str, spread: int) -> tuple[int, int, float]:
    return asyncio.run(_claimed_all(dsn, spread))


async def _claimed_all(dsn: str, spread: int) -> tuple[int, int, float]:
    """Claims until nothing is left: how many while there was, how many of them empty, seconds."""
    connection = await asyncpg.connect(dsn)
    token = str(uuid4())
    await connection.execute(REGISTER, token)
    claim = await connection.prepare(CLAIM)
    claims = none = 0
    _together.wait()
    began = time.monotonic()
    while True:
        among = str(spread * CLAIMED)
        taken = await claim.fetch(token, WORKFLOWS, str(CLAIMED), among, str(spread > 1))
        if not taken and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM workflow_instances WHERE runner IS NULL)"
        ):
            break
        claims += 1
        none += not taken
    seconds = time.monotonic() - began
    await connection.close()
    return claims, none, seconds
