from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from hephaestus_pg import InvalidValueError, MigrationChangedError, migrations
from hephaestus_pg.migrations.planning import PLAIN
from tests.support.catalog import snapshot

pytestmark = pytest.mark.quick


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
    monkeypatch.setattr("hephaestus_pg.migrations.reading.ONLINE_ABOVE", 1)
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


async def test_status_lists_every_migration(dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    status = await migrations.status(dsn, schema=schema)
    assert (status.schema, status.version) == (schema, 2)
    assert [each.state for each in status.migrations] == ["applied"] * 2 + ["pending"] * (
        migrations.LATEST - 2
    )
    assert [each.version for each in status.pending] == list(range(3, migrations.LATEST + 1))
    assert [bool(each.applied_at) for each in status.migrations[:3]] == [True, True, False]
    assert status.migrations[0].name == "create_workflow_instances"
