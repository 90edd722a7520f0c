from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import InvalidValueError, MigrationChangedError, migrations
from hephaestus_pg.migrations import Distribution
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.planning import ONLINE, PLAIN, planned, planned_move
from tests.support.catalog import snapshot

if TYPE_CHECKING:
    from hephaestus_pg.migrations.files import Migration

pytestmark = pytest.mark.quick

# From the weakest to the strictest, by pg_locks' names.
LOCKS = (
    *("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock"),
    *("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"),
)
HELD = "SELECT mode FROM pg_locks WHERE relation = $1::text::regclass AND pid = pg_backend_pid()"
FILE = "SELECT pg_relation_filenode($1::text::regclass)"


def test_each_migration_and_each_online_way_is_planned() -> None:
    assert [*PLAIN] == [migration.version for migration in shipped()]
    assert [*ONLINE] == [migration.version for migration in shipped() if migration.stages]


@pytest.mark.parametrize("migration", shipped()[1:], ids=lambda each: each.name)
async def test_a_step_takes_the_lock_and_rewrites_as_it_is_said(
    dsn: str, schema: str, migration: Migration
) -> None:
    await migrations.up(dsn, schema=schema, version=migration.version - 1)
    table = f"{schema}.workflow_instances"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"SET search_path = {schema}")
    transaction = connection.transaction()
    await transaction.start()
    before = await connection.fetchval(FILE, table)
    text = migration.before + migration.up
    await connection.execute(text.replace("/* schema */", f"{schema}."))
    held = [row["mode"] for row in await connection.fetch(HELD, table)]
    after = await connection.fetchval(FILE, table)
    await transaction.rollback()
    await connection.close()

    step = planned(migration, rows=0, online=False)
    strictest = max(held, key=LOCKS.index)
    assert step.lock is not None
    assert strictest == f"{step.lock.title().replace(' ', '')}Lock"
    assert step.rewrites is (before != after)


async def test_a_plan_is_of_what_is_pending_and_changes_nothing(dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    before = await snapshot(dsn, schema)
    for online in (False, True):
        plan = await migrations.plan(dsn, schema=schema, online=online)
        assert (plan.schema, plan.from_version, plan.notes) == (schema, 2, ())
        assert [step.version for step in plan.steps] == [3, 4, 5, 6]
        assert [step.online for step in plan.steps] == [online, online, False, online]
        assert plan.bytes > 0
    assert await snapshot(dsn, schema) == before
    plan = await migrations.plan(dsn, schema=schema, version=3)
    assert [step.version for step in plan.steps] == [3]


async def test_the_time_goes_by_the_rows_whether_they_were_counted_or_not(
    dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        f"INSERT INTO {schema}.workflow_instances (id, workflow, inserted_at, updated_at) "
        "SELECT gen_random_uuid(), 'Order', now(), now() FROM generate_series(1, 5000)"
    )
    guessed = await migrations.plan(dsn, schema=schema)
    assert 200 < guessed.rows < 5000
    await connection.execute(f"ANALYZE {schema}.workflow_instances")
    plan = await migrations.plan(connection=connection, schema=schema)
    await connection.close()
    assert plan.rows == 5000
    assert plan.steps[0].seconds == pytest.approx(5000 * PLAIN[3].row_microseconds / 1e6)


async def test_a_large_table_is_planned_online(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.up(dsn, schema=schema, version=3)
    assert not (await migrations.plan(dsn, schema=schema)).steps[0].online
    monkeypatch.setattr("hephaestus_pg.migrations.engine.ONLINE_ABOVE", 1)
    assert (await migrations.plan(dsn, schema=schema)).steps[0].online


async def test_without_a_schema_everything_is_to_be_made(dsn: str) -> None:
    plan = await migrations.plan(dsn, schema="not_there")
    assert len(plan.steps) == migrations.LATEST
    assert plan.steps[0].lock is None
    assert plan.notes == ("there is no schema not_there",)


async def test_what_up_would_refuse_is_refused(dsn: str, migrated: str) -> None:
    with pytest.raises(InvalidValueError):
        await migrations.plan(dsn, schema=migrated, version=99)
    connection: Any = await asyncpg.connect(dsn)
    async with connection.transaction():
        with pytest.raises(InvalidValueError, match="outside a transaction"):
            await migrations.plan(connection=connection, schema=migrated)
    await connection.execute(f"UPDATE {migrated}.hephaestus_pg_migrations SET checksum = ''")
    with pytest.raises(MigrationChangedError):
        await migrations.plan(connection=connection, schema=migrated)
    await connection.close()


def test_a_move_is_planned_by_its_way_and_its_rows() -> None:
    by_id, by_schema = Distribution("id", 4), Distribution("schema", 1)
    moves = {
        (None, by_schema, False): ("all of it", False, 30.0),
        # There is no such way by schema, nor back.
        (None, by_schema, True): ("all of it", False, 30.0),
        (by_id, None, True): ("all of it", False, 60.0),
        (None, by_id, False): ("all of it", False, 30.0),
        (None, by_id, True): ("moments", True, 110.0),
        (by_id, by_id, True): ("no time", False, 0.0),
        (None, None, False): ("no time", False, 0.0),
    }
    for (before, after, online), expected in moves.items():
        plan = planned_move("tenant", before, after, rows=10**6, size=2**30, online=online)
        assert (plan.before, plan.after, plan.bytes) == (before, after, 2**30)
        assert (plan.held, plan.online, plan.seconds) == expected
