from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.migrations import Distribution
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.planning import ONLINE, PLAIN, planned, planned_move

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
