"""Several processes at once on the same rows: nobody's write is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Status, _sql, migrations
from tests.support.catalog import MOMENT, WAIT_SECONDS, until
from tests.support.writers import COUNTERS, write_at_once

if TYPE_CHECKING:
    from tests.support.faults import Faults
    from tests.support.starting import Start


OTHERS = """
    SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
"""
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.mark.once
async def test_of_a_hundred_inserts_of_one_id_exactly_one_succeeds(
    dsn: str, storage: AsyncStorage
) -> None:
    results = await write_at_once("insert", dsn, storage.schema, processes=4, tasks=25, rounds=30)

    won = Counter(id for result in results for id in result["won"])
    assert won == Counter(f"order::{number}" for number in range(30))
    errors: Counter[str] = sum((Counter(result["errors"]) for result in results), Counter())
    assert errors == {"True pending Order": 99 * 30}
    assert await storage.count() == 30


async def test_an_insert_whose_obstacle_went_meanwhile_tries_again(
    storage: AsyncStorage, faults: Faults, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    await storage.insert(Instance.new("Order", {}, id="order::1"))
    gone = f"DELETE FROM {storage.schema}.workflow_instances"
    faults.before("get", lambda: pool.execute(gone))
    again = await storage.insert(Instance.new("Order", {"again": True}, id="order::1"))
    assert again.context.initial == {"again": True}
    assert (again.revision or 0) > MOMENT


@pytest.mark.once
async def test_a_finished_instance_is_replaced_by_exactly_one(
    dsn: str, storage: AsyncStorage
) -> None:
    ids = [f"order::{number}" for number in range(30)]
    old = await storage.put_many([Instance(id, "Old", status=Status.COMPLETED) for id in ids])

    results = await write_at_once("restart", dsn, storage.schema, processes=3, tasks=10, rounds=30)

    assert sorted(tuple(won) for result in results for won in result["won"]) == sorted(
        (instance.id, (instance.revision or 0) + 1) for instance in old
    )


@pytest.mark.once
async def test_each_acknowledged_update_is_in_the_chain_exactly_once(
    dsn: str, storage: AsyncStorage
) -> None:
    first = {
        counter.id: counter.revision or 0
        for counter in await storage.put_many(
            [Instance.new("Counter", {"marks": []}, id=id) for id in COUNTERS]
        )
    }

    results = await write_at_once("update", dsn, storage.schema, processes=3, tasks=4, rounds=90)

    for id in COUNTERS:
        acknowledged = sorted(
            (revision, mark)
            for result in results
            for of, revision, mark in result["acknowledged"]
            if of == id
        )
        held = await storage.get(id)
        assert held is not None
        # No revision was given twice, none was skipped, and the row holds each write in its order.
        last = first[id] + len(acknowledged)
        assert [revision for revision, _ in acknowledged] == list(range(first[id] + 1, last + 1))
        assert held.revision == last
        assert held.context.initial["marks"] == [mark for _, mark in acknowledged]
    assert sum(len(result["acknowledged"]) for result in results) == 3 * 4 * 90
    assert sum(result["refused"] for result in results) > 0


@pytest.mark.once
async def test_calls_in_opposite_orders_do_not_wait_for_each_other(database: str) -> None:
    """A deadlock would be tried again in silence: it is the server that is asked."""
    await migrations.up(database)
    connection = await asyncpg.connect(database)
    try:
        # Before anybody's lock_timeout, which would hide it.
        name = urlsplit(database).path[1:]
        await connection.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    except asyncpg.InsufficientPrivilegeError:
        pytest.skip("only a superuser may set deadlock_timeout")
    finally:
        await connection.close()

    results = await write_at_once("cross", database, "public", processes=2, tasks=200, rounds=15)

    assert results == [dict.fromkeys(("put", "insert", "update", "delete"), 200 * 15)] * 2
    connection = await asyncpg.connect(database)
    try:
        await until(connection, OTHERS)  # each reports what it counted as it ends
        assert await connection.fetchval(DEADLOCKS) == 0
    finally:
        await connection.close()


IDS = [f"row::{number}" for number in reversed(range(10))]
REVISIONS: list[Any] = []  # what the rows are at
ROWS: list[list[Any]] = [["W"] * 10, ["running"] * 10, ["1"] * 10, [None] * 10]
COLUMNS: dict[str, list[Any]] = {
    "put_many": [*ROWS, ["{}"] * 10],
    "insert_many": [*ROWS, ["True"] * 10, [None] * 10, ["{}"] * 10],
    "update_many": [*ROWS, REVISIONS, ["{}"] * 10],
    "delete_many": [REVISIONS],
}


@pytest.mark.parametrize("statement", COLUMNS)
async def test_a_statement_that_waits_for_a_row_has_locked_none_behind_it(
    start: Start, migrated: str, pool: asyncpg.Pool[asyncpg.Record], statement: str
) -> None:
    """In what order its ids were given, or lie in the table, does not matter."""
    table = f"{migrated}.workflow_instances"
    scan = {"enable_indexscan": "off", "enable_bitmapscan": "off"}  # it meets the last id first
    async with (
        start(server_settings=scan) as storage,
        pool.acquire() as holder,
        pool.acquire() as other,
    ):
        finished = [Instance(id, "W", status=Status.COMPLETED) for id in IDS]
        at = [str((await storage.put(instance)).revision) for instance in finished]
        given = [at if column is REVISIONS else column for column in COLUMNS[statement]]
        text = _sql.statement(statement, migrated)  # which waits for locks until its deadline

        async def write_all() -> list[asyncpg.Record]:
            async with storage.transaction() as transaction:
                rows: list[asyncpg.Record] = await transaction.connection.fetch(text, IDS, *given)
                return rows

        async with holder.transaction():
            await holder.execute(f"SELECT FROM {table} WHERE id = $1 FOR UPDATE", IDS[-1])
            write = asyncio.create_task(write_all())
            async with asyncio.timeout(WAIT_SECONDS):
                while not await other.fetchval(BLOCKED, holder.get_server_pid()):
                    await asyncio.sleep(0.01)
            free = await other.fetch(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED")
        assert {row["id"] for row in free} == set(IDS[:-1])
        assert {row["id"] for row in await write} == set(IDS)
