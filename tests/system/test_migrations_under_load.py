"""Migrations while others read, write and migrate too, or while the migrating process is killed.

It is killed at some of its statements; at each of them, and beside writers of a million rows, with
``pytest tests/system/test_migrations_under_load.py -m long --timeout 0``.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    HephaestusError,
    Instance,
    Names,
    migrations,
)
from tests.support.catalog import assert_is_at
from tests.support.lag import Lag
from tests.support.migrators import Migrators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 20.0
"""Seconds that each statement of a reader or writer has."""

# HephaestusEcto's statements at any version: they bind ids as uuid, and use old columns only.
FILL = """
    INSERT INTO {}.workflow_instances (id, workflow, inserted_at, updated_at)
    SELECT gen_random_uuid(), 'Elixir.Order', now(), now() FROM generate_series(1, {})
"""
UPSERT = """
    INSERT INTO {}.workflow_instances (id, workflow, state, inserted_at, updated_at)
    VALUES ($1::text::uuid, 'Elixir.Order', $2::text::jsonb, now(), now())
    ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state
"""
SELECT = "SELECT state->>'n' AS n FROM {}.workflow_instances WHERE id::text = $1::text"


@pytest.fixture
async def migrators(database: str) -> AsyncIterator[Migrators]:
    async with Migrators.started(database) as migrators:
        yield migrators


async def filled(dsn: str, schema: str, rows: int) -> None:
    """Version 2 of the schema, with rows."""
    await migrations.up(dsn, schema=schema, version=2)
    link = await asyncpg.connect(dsn)
    await link.execute(FILL.format(schema, rows))
    await link.close()


async def written(dsn: str, schema: str, stop: asyncio.Event) -> dict[str, int]:
    """Write and read back on one connection until told to stop; what was acknowledged last."""
    link = await asyncpg.connect(dsn)
    acknowledged: dict[str, int] = {}
    keys = [str(uuid4()) for _ in range(5)]
    try:
        for number in count():
            key = keys[number % len(keys)]
            await link.execute(UPSERT.format(schema), key, f'{{"n": {number}}}', timeout=DEADLINE)
            acknowledged[key] = number
            read = await link.fetchval(SELECT.format(schema), key, timeout=DEADLINE)
            assert read == str(number)
            if stop.is_set():
                break
    finally:
        await link.close()
    return acknowledged


@pytest.mark.parametrize("online", (False, True))
async def test_readers_and_writers_go_on_through_every_version_up_and_down(
    database: str, *, online: bool
) -> None:
    await migrations.up(database, version=1)
    await filled(database, "public", 1500)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:  # a failure ends the others
        writers = [group.create_task(written(database, "public", stop)) for _ in range(6)]
        for _ in range(2):
            for version in range(2, migrations.LATEST + 1):
                await migrations.up(database, version=version, online=online)
            for version in reversed(range(1, migrations.LATEST)):
                await migrations.down(database, version=version)
                if version > 1:
                    await assert_is_at(database, "public", version)
        await migrations.up(database, online=online)
        stop.set()

    acknowledged = {k: n for writer in writers for k, n in writer.result().items()}
    await assert_is_at(database, "public", migrations.LATEST)
    link = await asyncpg.connect(database)
    rows = await link.fetch("SELECT id, state->>'n' AS n FROM workflow_instances")
    await link.close()
    found = {row["id"]: row["n"] for row in rows}
    assert {key: found.get(key) for key in acknowledged} == {
        key: str(number) for key, number in acknowledged.items()
    }
    assert len(rows) == 1500 + len(acknowledged)


# The two indexes that take longest are built behind the rows.
MILLION = """
    DROP INDEX idx_workflow_instances_state, workflow_instances_workflow_family_index;
    INSERT INTO workflow_instances (id, workflow, status, inserted_at, updated_at)
    SELECT 'order::' || n, 'W' || n % 200,
        CASE n % 10 WHEN 0 THEN 'running' WHEN 1 THEN 'waiting' ELSE 'completed' END, now(), now()
    FROM generate_series(0, 999999) AS n;
    CREATE INDEX idx_workflow_instances_state ON workflow_instances
        USING gin (state jsonb_path_ops);
    CREATE INDEX workflow_instances_workflow_family_index
        ON workflow_instances (workflow COLLATE "C");
    VACUUM ANALYZE workflow_instances
"""
WRITE = "UPDATE workflow_instances SET updated_at = now() WHERE id = 'order::' || $1::text"


@pytest.mark.long
async def test_online_the_columns_of_owners_stop_no_writer_of_a_million_rows(database: str) -> None:
    await migrations.up(database, version=5)
    owner = await asyncpg.connect(database)
    for statement in MILLION.split(";"):
        await owner.execute(statement)
    stop = asyncio.Event()
    waited: list[float] = []

    async def write(number: int) -> None:
        link = await asyncpg.connect(database)
        while not stop.is_set():
            number = (number + 7919) % 1_000_000
            async with Lag() as lag:
                await link.execute(WRITE, str(number))
                waited.append(lag.seconds)
        await link.close()

    async with asyncio.TaskGroup() as writers:
        for number in range(4):
            writers.create_task(write(number))
        while len(waited) < 100:
            await asyncio.sleep(0.01)
        waited.clear()
        result = await migrations.up(database, online=True)
        stop.set()

    assert [(step.version, step.online) for step in result.steps] == [(6, True)]
    assert len(waited) > 100
    assert max(waited) < 0.25
    await assert_is_at(database, "public", migrations.LATEST)
    await owner.close()


@pytest.mark.parametrize("batching", (True, False))
async def test_a_storage_that_is_older_than_a_migration_goes_on(
    database: str, *, batching: bool
) -> None:
    await migrations.up(database)
    ids = [str(uuid4()) for _ in range(20)]
    answers: dict[int, list[Any]] = defaultdict(list)
    """By the number of migrations that had been done when the call began."""
    done = 0
    stop = asyncio.Event()

    async def use(storage: AsyncStorage, id: str) -> None:
        while not stop.is_set():
            recent = answers[done]
            try:
                await storage.put(Instance(id, "W"), timeout=DEADLINE)
                recent.append(await storage.get(id, timeout=DEADLINE))
            except HephaestusError as error:
                recent.append(error)
                await asyncio.sleep(0.01)

    async with AsyncStorage.start(
        database, references=Names(), batching=batching, max_size=4
    ) as storage:
        async with asyncio.TaskGroup() as users:
            for id in ids:
                users.create_task(use(storage, id))
            for version in (3, 2):
                await migrations.down(database, version=version)
                await migrations.up(database)
                done += 1
                while len(answers[done]) < 5 * len(ids):
                    await asyncio.sleep(0.01)
                # At the version that it needs nothing is wrong any more, on connections of before.
                assert [each for each in answers[done] if not isinstance(each, Instance)] == []
            stop.set()
        assert (await storage.get_many(ids)).keys() == set(ids)


@pytest.mark.once
async def test_sixty_four_processes_at_once_are_one_migration(
    database: str, migrators: Migrators
) -> None:
    assert await migrators.order("together", "fresh", 64) == [0] * 64
    await assert_is_at(database, "fresh", migrations.LATEST)
    status = await migrations.status(database, schema="fresh")
    assert [each.state for each in status.migrations] == ["applied"] * migrations.LATEST


@pytest.mark.parametrize("work", ("up", "online", "down"))
@pytest.mark.parametrize("stride", (11, pytest.param(1, marks=pytest.mark.long)))
async def test_a_run_killed_at_any_statement_can_be_repeated(
    database: str, migrators: Migrators, work: str, stride: int
) -> None:
    chance = random.Random(20261122)
    ended: list[int] = []
    for nth in count(1, stride):
        schema = f"killed_{nth}"
        await filled(database, schema, 20)
        if work == "down":
            await migrations.up(database, schema=schema)
        delay = chance.choice((0, 0.0005, 0.003))

        ended += await migrators.order("kill", schema, work, nth, delay)

        if ended[-1] == 0:
            break
        if work == "down":
            await migrations.down(database, schema=schema, version=0, allow_row_loss=True)
            await assert_is_at(database, schema, 0)
        else:
            await migrations.up(database, schema=schema, online=chance.choice((False, True)))
            await assert_is_at(database, schema, migrations.LATEST)
    assert set(ended) == {-signal.SIGKILL, 0}
    assert len(ended) * stride > 30
