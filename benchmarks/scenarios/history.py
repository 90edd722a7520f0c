"""Measures a put as an instance's history grows, beside an append in the server."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.load import Load
from benchmarks.states import HALFWAY, STAGES, build, text
from hephaestus_pg import (
    AsyncStorage,
    Names,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

ENTRIES = (0, 10, 100, 1_000, 10_000)

_LINES = 3
_INSTANCES = 8

# The last entry makes way, so that the length stays what is measured.
_APPEND = """
UPDATE workflow_instances
SET
    state = jsonb_set(
        state, '{execution_history}', (state -> 'execution_history') - (-1) || $2::text::jsonb
    ),
    revision = revision + 1
WHERE id = $1
"""

_ENTRY = (
    '{"step_ref": "Ship", "event": "turn %d", "timestamp": "2025-03-01T09:30:00Z",'
    ' "context_updates": null}'
)


def history(server: Server, entries: Sequence[int], *, seconds: float) -> Iterator[dict[str, Any]]:
    """A record for each length of the history and way to write: put, or an append in the server."""
    for length in entries:
        with server.database("bench_history") as dsn:
            yield from asyncio.run(_measure(server, dsn, length, seconds))


async def _measure(server: Server, dsn: str, length: int, seconds: float) -> list[dict[str, Any]]:
    await migrations.up(dsn)
    stages = [
        [build(number, stage, lines=_LINES, entries=length) for number in range(_INSTANCES)]
        for stage in range(STAGES)
    ]
    turns = cycle([instance for stage in stages for instance in stage])
    ids = cycle([instance.id for instance in stages[0]])
    connection = await asyncpg.connect(dsn)
    append = await connection.prepare(_APPEND)

    async def appended(caller: int, turn: int) -> int:
        await append.fetch(next(ids), _ENTRY % turn)
        return 1

    async with AsyncStorage.start(dsn, name="history", references=Names()) as storage:

        async def put(caller: int, turn: int) -> int:
            await storage.put(next(turns))
            return 1

        records = []
        for way, call in {"put": put, "append": appended}.items():
            load = Load(call, 1)
            await load.run(seconds / 4)
            with server.counted() as costs:
                figures = (await load.run(seconds)).figures()
            each = figures["instances"]
            records.append(
                {
                    "entries": length,
                    "way": way,
                    "state_bytes": len(text(stages[HALFWAY][0])),
                    **figures,
                    "server_cpu": 1000 * costs["server_cpu"] / each,
                    "wal": costs["wal"] / each,
                }
            )
    await connection.close()
    return records
