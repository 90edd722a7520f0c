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
from hephaestus_pg.runners.claiming import SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import Server

PROCESSES = 8
ROWS = 2_000


def empty_claims(server: Server, *, rounds: int) -> Iterator[dict[str, Any]]:
    """A record for each round and choice: how many claims of 8 processes come back empty."""
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(PROCESSES, mp_context=context) as processes,
        server.database("bench_empty") as dsn,
    ):
        asyncio.run(migrations.up(dsn))
        for round_number in range(rounds):
            for choice, spread in {"the first 50": 1, "50 at random of 200": SPREAD}.items():
                at = asyncio.run(_refilled(dsn))
                taken = [
                    each.result()
                    for each in [
                        processes.submit(_claim_all, dsn, at, spread) for _ in range(PROCESSES)
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


async def _refilled(dsn: str) -> float:
    """Rows that can be claimed; a moment soon, by the clock that the processes share."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE workflow_instances")
    await connection.execute(FILL, "free::", WORKFLOWS, "running", None, None, ROWS)
    await connection.execute("VACUUM ANALYZE workflow_instances")
    await connection.close()
    return time.monotonic() + 2.0


def _claim_all(dsn: str, at: float, spread: int) -> tuple[int, int, float]:
    return asyncio.run(_claimed_all(dsn, at, spread))


async def _claimed_all(dsn: str, at: float, spread: int) -> tuple[int, int, float]:
    """Claims until nothing is left: how many while there was, how many of them empty, seconds."""
    connection = await asyncpg.connect(dsn)
    token = str(uuid4())
    await connection.execute(REGISTER, token)
    claim = await connection.prepare(CLAIM)
    claims = none = 0
    await asyncio.sleep(at - time.monotonic())
    began = time.monotonic()
    while True:
        taken = await claim.fetch(token, WORKFLOWS, str(CLAIMED), str(spread * CLAIMED))
        if not taken and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM workflow_instances WHERE runner IS NULL)"
        ):
            break
        claims += 1
        none += not taken
    seconds = time.monotonic() - began
    await connection.close()
    return claims, none, seconds
