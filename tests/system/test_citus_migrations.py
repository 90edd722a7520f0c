"""Migrations, and the moves to the workers and back, on a Citus cluster.

``HEPHAESTUS_PG_TEST_CITUS_DSN`` leads to its coordinator, as for the claims.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from itertools import count
from pathlib import Path
from random import randrange
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg import AsyncStorage, Context, Instance, Names, migrate, migrations
from hephaestus_pg.errors import (
    ConnectionLostError,
    MigrationError,
    MigrationLockError,
    RejectedError,
    RewriteRefusedError,
    SchemaOutdatedError,
)
from hephaestus_pg.migrations import Distribution, distribution
from tests.support.catalog import RAISE, snapshot, until
from tests.support.citus import drop_schema
from tests.support.commands import ran

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Link = asyncpg.Connection[Any]

DSN = os.environ.get("HEPHAESTUS_PG_TEST_CITUS_DSN", "")
pytestmark = pytest.mark.skipif(not DSN, reason="HEPHAESTUS_PG_TEST_CITUS_DSN names no cluster")

SETTINGS = {"citus.override_table_visibility": "off"}
ROWS = 500
FILL = f"""
    INSERT INTO {{0}}.workflow_instances (id, workflow, state, inserted_at, updated_at, due_at)
    SELECT 'order::' || n, 'Order', jsonb_build_object('n', n), now(), now(), now()
    FROM generate_series(1, {ROWS}) AS n;
    COMMENT ON TABLE {{0}}.workflow_instances IS '3';
    COMMENT ON COLUMN {{0}}.workflow_instances.id IS 'The order''s "number"';
"""
WAYS: dict[str, dict[str, Any]] = {
    "by schema": {"by": "schema"},
    "by id": {"by": "id", "shards": 4, "online": False},
    "by id, online": {"by": "id", "shards": 4, "online": True},
}
NOW = {"by schema": Distribution("schema", 1)} | dict.fromkeys(
    ("by id", "by id, online"), Distribution("id", 4)
)
SERVED = "the table cannot have triggers, so that update does not see what other programs write"


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def schema(link: Link) -> AsyncIterator[str]:
    """A schema of its own, at the latest version, with rows and HephaestusEcto's comment."""
    name = f"schema_{uuid4().hex[:12]}"
    await link.execute(migrations.sql("up", schema=name))
    await link.execute(FILL.format(name))
    yield name
    await drop_schema(link, name)


async def rows(link: Link, schema: str) -> list[Any]:
    found: list[Any] = await link.fetch(f"SELECT * FROM {schema}.workflow_instances ORDER BY id")
    return found


async def shape(schema: str) -> dict[str, Any]:
    """The table as the catalog describes it, without what the move takes away and what it adds."""
    found = await snapshot(DSN, schema)
    others = {each for each in found["others"] if each[0] == "comment"}
    return {**found, "others": others, "comments": await comments(schema)}


async def comments(schema: str) -> list[Any]:
    link = await asyncpg.connect(DSN, server_settings=SETTINGS)
    try:
        return [
            tuple(row)
            for row in await link.fetch(
                "SELECT objoid::regclass::text, objsubid > 0, description FROM pg_description "
                "WHERE objoid::regclass::text ~ ('^' || $1 || '\\..*[a-z]$') ORDER BY 1, 2",
                schema,
            )
        ]
    finally:
        await link.close()


async def has_trigger(schema: str) -> bool:
    return ("trigger", RAISE) in (await snapshot(DSN, schema))["others"]


async def worker_dsn(link: Link) -> str:
    where = await link.fetchval(
        "SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE groupid = 1"
    )
    parts = urlsplit(DSN)
    return parts._replace(netloc=f"{parts.username}@{where}").geturl()


def started(dsn: str, schema: str) -> Any:
    return AsyncStorage.start(
        dsn, name=uuid4().hex, schema=schema, references=Names(), timeout=60.0
    )


@pytest.mark.parametrize("way", WAYS)
async def test_a_move_and_the_way_back_keep_every_row_and_the_table(
    link: Link, schema: str, way: str
) -> None:
    before, table, whole = (
        await rows(link, schema),
        await shape(schema),
        await snapshot(DSN, schema),
    )
    result = await migrations.distribute(DSN, schema=schema, **WAYS[way])
    assert (result.before, result.after) == (None, NOW[way])
    assert result.online is (way == "by id, online")
    assert await rows(link, schema) == before
    assert await shape(schema) == table
    assert not await has_trigger(schema)
    status = await migrations.status(DSN, schema=schema)
    assert (status.distribution, status.differences, status.pending) == (NOW[way], (), ())
    assert SERVED in status.notes
    assert await link.fetchval(f"SELECT pg_relation_size('{schema}.workflow_instances')") == 0

    result = await migrations.undistribute(DSN, schema=schema)
    assert (result.before, result.after) == (NOW[way], None)
    assert await rows(link, schema) == before
    found = await snapshot(DSN, schema)
    # The old shard is dropped within a minute.
    found["others"] = [each for each in found["others"] if each[1] not in await old_shards(link)]
    assert found == whole
    status = await migrations.status(DSN, schema=schema)
    assert (status.distribution, status.differences) == (None, ())


@pytest.mark.parametrize("way", WAYS)
async def test_what_others_were_granted_and_told_of_views_is_kept(
    link: Link, schema: str, way: str
) -> None:
    for statement in (
        "CREATE VIEW {0}.seen AS SELECT id, status FROM {0}.workflow_instances",
        "CREATE VIEW {0}.further AS SELECT id FROM {0}.seen",
        "CREATE MATERIALIZED VIEW {0}.counted AS SELECT count(*) FROM {0}.workflow_instances",
        "GRANT SELECT ON {0}.seen, {0}.further, {0}.counted TO PUBLIC",
        "GRANT UPDATE (status) ON {0}.seen TO pg_monitor",
        "GRANT SELECT ON {0}.seen TO pg_monitor WITH GRANT OPTION",
        "COMMENT ON VIEW {0}.seen IS 'The report''s'",
        "COMMENT ON COLUMN {0}.seen.id IS 'order'",
        "COMMENT ON MATERIALIZED VIEW {0}.counted IS 'nightly'",
        "COMMENT ON INDEX {0}.workflow_instances_due_index IS 'due'",
    ):
        await link.execute(statement.format(schema))
    text = """
        SELECT relname, attname, relacl::text, attacl::text, description
        FROM pg_class
        LEFT JOIN pg_attribute ON attrelid = oid AND relkind IN ('m', 'v')
        LEFT JOIN pg_description ON objoid = oid AND objsubid = coalesce(attnum, 0)
        WHERE relnamespace = $1::regnamespace
            AND relname IN ('seen', 'further', 'counted', 'workflow_instances_due_index')
        UNION ALL
        SELECT relname, NULL, NULL, NULL, obj_description(oid, 'pg_class')
        FROM pg_class
        WHERE relnamespace = $1::regnamespace AND relkind IN ('m', 'v')
        ORDER BY 1, 2
    """
    before = await link.fetch(text, schema)
    assert sum("pg_monitor" in f"{row}" for row in before)
    await migrations.distribute(DSN, schema=schema, **WAYS[way])
    assert await link.fetch(text, schema) == before
    await migrations.undistribute(DSN, schema=schema)
    assert await link.fetch(text, schema) == before


@pytest.mark.parametrize("way", WAYS)
async def test_a_table_whose_columns_were_exchanged_online_keeps_its_rows(
    link: Link, way: str
) -> None:
    """The id is then its last column, behind one that was dropped."""
    schema = f"schema_{uuid4().hex[:12]}"
    try:
        await migrations.up(DSN, schema=schema, version=2)
        await link.execute(
            f"INSERT INTO {schema}.workflow_instances (id, workflow, inserted_at, updated_at) "
            "SELECT gen_random_uuid(), 'Order', now(), now() FROM generate_series(1, 100)"
        )
        await migrations.up(DSN, schema=schema, online=True)
        before = await rows(link, schema)
        await migrations.distribute(DSN, schema=schema, **WAYS[way])
        assert await rows(link, schema) == before
        async with started(DSN, schema) as storage:
            for row in before[:10]:
                assert await storage.get(row["id"]) is not None
        await migrations.undistribute(DSN, schema=schema)
        assert await rows(link, schema) == before
    finally:
        await drop_schema(link, schema)


async def old_shards(link: Link) -> set[str]:
    return {
        row["name"].rpartition(".")[2]
        for row in await link.fetch("SELECT object_name AS name FROM pg_dist_cleanup")
    }


@pytest.mark.parametrize("way", WAYS)
async def test_once_moved_it_is_left_as_it_is(link: Link, schema: str, way: str) -> None:
    await migrations.distribute(DSN, schema=schema, **WAYS[way])
    again = await migrations.distribute(DSN, schema=schema, **WAYS[way])
    assert again.before == again.after == NOW[way]
    plan = await migrations.plan_distribute(DSN, schema=schema, **WAYS[way])
    assert (plan.before, plan.held, plan.obstacles) == (plan.after, "no time", ())
    with pytest.raises(
        MigrationError, match=r"it is distributed by .*; first run: .* undistribute"
    ):
        await migrations.distribute(DSN, schema=schema, by="id", shards=7)
    await migrations.undistribute(DSN, schema=schema)
    again = await migrations.undistribute(DSN, schema=schema)
    assert again.before is again.after is None


@pytest.mark.parametrize("online", (False, True))
@pytest.mark.parametrize("way", ("", "by schema", "by id"))
async def test_what_is_distributed_is_migrated_as_any_other(
    link: Link, schema: str, way: str, *, online: bool
) -> None:
    if way:
        await migrations.distribute(DSN, schema=schema, **WAYS[way])
    before, table = await rows(link, schema), await shape(schema)
    for version in (5, 4, 3):
        await migrations.down(DSN, schema=schema, version=version, allow_due_loss=True)
        result = await migrations.up(DSN, schema=schema, online=online)
        assert [step.version for step in result.steps] == list(range(version + 1, 7))
        assert await shape(schema) == table
    assert await has_trigger(schema) is (not way)
    assert [row["id"] for row in await rows(link, schema)] == [row["id"] for row in before]
    for profile in ("none", "full"):
        assert (await migrations.index(DSN, schema=schema, profile=profile)).after == profile
    again = await migrations.up(DSN, schema=schema, online=online)
    assert again.steps == ()
    plan = await migrations.plan(DSN, schema=schema)
    assert plan.bytes > 0
    assert plan.rows > 0
    status = await migrations.status(DSN, schema=schema)
    assert (status.distribution, status.index, status.pending) == (NOW.get(way), "full", ())
    async with started(DSN, schema) as storage:
        await storage.put(Instance("new", "Order"))
        assert await storage.get("new") is not None


async def test_by_schema_it_is_taken_down_to_nothing_and_up_again(link: Link, schema: str) -> None:
    await migrations.distribute(DSN, schema=schema, by="schema")
    await migrations.down(DSN, schema=schema, version=0, allow_row_loss=True)
    result = await migrations.up(DSN, schema=schema)
    assert (result.from_version, result.to_version) == (0, migrations.LATEST)
    status = await migrations.status(DSN, schema=schema)
    assert (status.distribution, status.differences) == (NOW["by schema"], ())


@pytest.mark.parametrize("online", (False, True))
async def test_a_schema_that_begins_distributed_is_migrated(link: Link, *, online: bool) -> None:
    schema = f"schema_{uuid4().hex[:12]}"
    await link.execute("SET citus.enable_schema_based_sharding = on")
    try:
        result = await migrations.up(connection=link, schema=schema, online=online)
        assert [step.version for step in result.steps] == list(range(1, migrations.LATEST + 1))
        status = await migrations.status(connection=link, schema=schema)
        assert (status.distribution, status.differences) == (NOW["by schema"], ())
        await migrations.down(connection=link, schema=schema, version=1)
        await migrations.up(connection=link, schema=schema, online=online)
    finally:
        await drop_schema(link, schema)


async def test_what_citus_cannot_do_is_refused_before_anything_is_done(
    link: Link, schema: str
) -> None:
    await migrations.distribute(DSN, schema=schema, **WAYS["by id"])
    table = await shape(schema)
    with pytest.raises(MigrationError, match=r"profile initial then; first run: .* undistribute"):
        await migrations.index(DSN, schema=schema, profile="initial")
    with pytest.raises(MigrationError, match=r"below version 3 .*; first run: .* undistribute"):
        await migrations.down(DSN, schema=schema, version=0, allow_row_loss=True)
    assert await shape(schema) == table


@pytest.mark.parametrize("way", WAYS)
async def test_the_index_over_initial_contexts_goes_along(
    link: Link, schema: str, way: str
) -> None:
    await migrations.index(DSN, schema=schema, profile="initial")
    before, table = await rows(link, schema), await shape(schema)
    await migrations.distribute(DSN, schema=schema, **WAYS[way])
    assert (await migrations.status(DSN, schema=schema)).index == "initial"
    assert await rows(link, schema) == before
    await migrations.undistribute(DSN, schema=schema)
    assert await rows(link, schema) == before
    assert await shape(schema) == table


async def test_on_a_worker_node_nothing_is_made_and_a_storage_works(
    link: Link, schema: str
) -> None:
    worker, elsewhere = await worker_dsn(link), f"schema_{uuid4().hex[:12]}"
    for refused in (
        migrations.up(worker, schema=elsewhere),
        migrations.plan(worker, schema=elsewhere),
        migrations.down(worker, schema=schema, version=5),
        migrations.index(worker, schema=schema, profile="none"),
        migrations.distribute(worker, schema=schema, by="id"),
        migrations.plan_distribute(worker, schema=schema, by="id"),
        migrations.undistribute(worker, schema=schema),
        migrations.plan_undistribute(worker, schema=schema),
    ):
        with pytest.raises(MigrationError, match="worker node .*; connect to the coordinator"):
            await refused
    assert not (await migrations.status(worker, schema=elsewhere)).exists
    for way, wanted in WAYS.items():
        await migrations.distribute(DSN, schema=schema, **wanted)
        assert await migrations.migrated_version(worker, schema=schema) == migrations.LATEST
        async with started(worker, schema) as storage:
            await storage.put(Instance(way, "Order"))
        async with started(DSN, schema) as storage:
            assert await storage.get(way) is not None
        await migrations.undistribute(DSN, schema=schema)


async def test_a_dry_run_says_what_would_be_and_changes_nothing(
    link: Link, schema: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await snapshot(DSN, schema)

    async def run(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(
            ran, migrate.main, capsys, *arguments, "--schema", schema, "--dsn", DSN
        )

    code, out, err = await run("distribute", "--by", "schema", "--dry-run")
    assert (code, err) == (1, "")
    assert out.splitlines()[:2] == [
        f"schema {schema} is not distributed; distribute would move it by schema, in one shard",
        "  note: under 1 s, in which nobody can read or write the tables",
    ]
    code, out, err = await run("distribute", "--by", "id", "--shards", "9", "--online", "--dry-run")
    assert (code, err) == (1, "")
    assert out.splitlines()[:2] == [
        f"schema {schema} is not distributed; distribute would move it by id, in 9 shards, online",
        "  note: under 1 s, in which readers and writers wait for moments",
    ]
    assert await run("undistribute", "--dry-run") == (
        0,
        f"schema {schema}: nothing to do, it is not distributed\n",
        "",
    )
    await link.execute(f"CREATE TABLE {schema}.orders (id bigint)")
    code, out, err = await run("distribute", "--by", "schema", "--dry-run")
    assert out.splitlines()[-1] == (
        "problem: the table orders, which would be distributed too; move it to another schema"
    )
    code, out, err = await run("distribute", "--by", "schema")
    assert (code, out) == (2, "")
    assert "cannot be distributed yet: the table orders" in err
    await link.execute(f"DROP TABLE {schema}.orders")
    assert await snapshot(DSN, schema) == before
    assert (
        await link.fetch(
            "SELECT 1 FROM pg_dist_partition WHERE logicalrelid::text LIKE $1", f"{schema}%"
        )
        == []
    )

    code, out, err = await run("distribute", "--by", "id", "--shards", "2")
    assert (code, err) == (0, "")
    assert out.startswith(f"schema {schema}: distributed by id, in 2 shards, in ")
    assert "distributed: by id, in 2 shards" in (await run("status"))[1].splitlines()
    code, out, err = await run("undistribute", "--dry-run")
    assert code == 1
    assert out.startswith(
        f"schema {schema} is distributed by id, in 2 shards; undistribute would end that\n"
    )
    code, out, err = await run("undistribute")
    assert (code, err) == (0, "")
    assert out.startswith(f"schema {schema}: undistributed, before by id, in 2 shards, in ")


@pytest.mark.parametrize("way", WAYS)
async def test_started_twice_at_once_it_is_done_once(link: Link, schema: str, way: str) -> None:
    before = await rows(link, schema)
    results = await asyncio.gather(
        *(migrations.distribute(DSN, schema=schema, **WAYS[way]) for _ in range(2))
    )
    assert sorted(result.before is None for result in results) == [False, True]
    assert await rows(link, schema) == before
    results = await asyncio.gather(*(migrations.undistribute(DSN, schema=schema) for _ in range(2)))
    assert sorted(result.before is None for result in results) == [False, True]
    assert await rows(link, schema) == before


async def test_two_schemas_at_once_have_their_turns(link: Link, schema: str) -> None:
    """Citus copies one table at a time while its writers go on, and refuses another."""
    other = f"schema_{uuid4().hex[:12]}"
    await link.execute(migrations.sql("up", schema=other))
    try:
        results = await asyncio.gather(
            *(
                migrations.distribute(DSN, schema=name, **WAYS["by id, online"])
                for name in (schema, other)
            )
        )
        assert [result.after for result in results] == [NOW["by id, online"]] * 2
    finally:
        await drop_schema(link, other)


@pytest.mark.parametrize("way", WAYS)
async def test_no_acknowledged_put_is_lost(link: Link, schema: str, way: str) -> None:
    acknowledged: dict[str, int] = {}
    done = asyncio.Event()
    written = asyncio.Condition()
    numbers = count()

    async def write(writer: int) -> None:
        while not done.is_set():
            try:
                async with started(DSN, schema) as storage:
                    await write_with(storage, writer)
            except RejectedError as error:  # it knows the table as it was when it started
                assert error.sqlstate == "0A000"  # noqa: PT017 - most are not refused

    async def write_with(storage: AsyncStorage, writer: int) -> None:
        while not done.is_set():
            id = f"x::{writer}::{randrange(20)}"
            number = next(numbers)
            await storage.put(Instance.new("Order", Context({"n": number}), id=id))
            acknowledged[id] = number
            async with written:
                written.notify_all()

    async def check() -> None:
        found = await link.fetch(
            f"SELECT id, (state #>> '{{context,initial,n}}')::integer AS n "
            f"FROM {schema}.workflow_instances WHERE id LIKE 'x::%'"
        )
        assert {row["id"]: row["n"] for row in found} == acknowledged
        assert (
            await link.fetchval(
                f"SELECT count(*) FROM {schema}.workflow_instances WHERE id LIKE 'order::%'"
            )
            == ROWS
        )

    for move in (
        migrations.distribute(DSN, schema=schema, **WAYS[way]),
        migrations.undistribute(DSN, schema=schema),
    ):
        done.clear()
        async with asyncio.TaskGroup() as group:
            for writer in range(4):
                group.create_task(write(writer))
            async with written:
                await written.wait()
            await move
            async with written:  # who waited goes on
                await written.wait()
            done.set()
        await check()


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_in_the_way_is_named_and_loses_nothing(
    link: Link, schema: str, way: str
) -> None:
    before = await rows(link, schema)
    holder = await asyncpg.connect(DSN, server_settings={"application_name": "the report"})
    try:
        async with holder.transaction():
            await holder.execute(f"SELECT 1 FROM {schema}.workflow_instances LIMIT 1")
            await holder.execute(f"UPDATE {schema}.workflow_instances SET status = status")
            with pytest.raises(MigrationLockError, match="the report"):
                await migrations.distribute(DSN, schema=schema, wait=1.0, **WAYS[way])
            status = await migrations.status(DSN, schema=schema)
            assert (status.distribution, status.differences) == (None, ())
        await migrations.distribute(DSN, schema=schema, **WAYS[way])
        async with holder.transaction():
            await holder.execute(f"UPDATE {schema}.workflow_instances SET status = status")
            with pytest.raises(MigrationLockError, match="the report"):
                await migrations.undistribute(DSN, schema=schema, wait=1.0)
        await migrations.undistribute(DSN, schema=schema)
    finally:
        await holder.close()
    assert [row["id"] for row in await rows(link, schema)] == [row["id"] for row in before]
    assert await has_trigger(schema)


@pytest.mark.parametrize("way", ("by schema", "by id"))
@pytest.mark.parametrize("statement", ("UPDATE {} SET status = status", "SELECT 1 FROM {}"))
async def test_who_is_in_the_way_on_a_worker_is_waited_for_no_longer(
    link: Link, schema: str, way: str, statement: str
) -> None:
    await migrations.distribute(DSN, schema=schema, **WAYS[way])
    holder = await asyncpg.connect(await worker_dsn(link))
    try:
        async with holder.transaction():
            await holder.execute(statement.format(f"{schema}.workflow_instances"))
            for refused in (
                migrations.down(DSN, schema=schema, version=5, allow_due_loss=True, wait=0.5),
                migrations.undistribute(DSN, schema=schema, wait=0.5),
            ):
                with pytest.raises(MigrationLockError, match="on a worker node"):
                    await refused
    finally:
        await holder.close()
    assert (await migrations.status(DSN, schema=schema)).distribution == NOW[way]
    assert (await migrations.undistribute(DSN, schema=schema)).after is None


async def test_a_server_that_ends_the_copy_leaves_what_can_be_taken_up_or_back(
    link: Link, schema: str
) -> None:
    before, whole = await rows(link, schema), await shape(schema)
    online = WAYS["by id, online"]
    for then in ("up again", "back"):
        task = asyncio.create_task(migrations.distribute(DSN, schema=schema, **online))
        pid = await until(
            link,
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() "
            "AND query LIKE '%create_distributed_table_concurrently(%' || $1 || '%'",
            schema,
        )
        await until(link, "SELECT 1 FROM pg_dist_cleanup WHERE object_name LIKE $1 || '%'", schema)
        await link.execute("SELECT pg_terminate_backend($1::integer, 0)", pid)
        with pytest.raises(ConnectionLostError):
            await task
        status = await migrations.status(DSN, schema=schema)
        assert status.distribution == Distribution("local", 1)
        assert [difference.serious for difference in status.differences] == [False]
        assert any("has still to drop" in note for note in status.notes) or not await old_shards(
            link
        )
        assert await rows(link, schema) == before
        if then == "up again":
            await migrations.distribute(DSN, schema=schema, **online)
            assert (await migrations.status(DSN, schema=schema)).distribution == NOW["by id"]
            assert await rows(link, schema) == before
        await migrations.undistribute(DSN, schema=schema)
        assert await rows(link, schema) == before
        assert await shape(schema) == whole
        assert await has_trigger(schema)


@pytest.mark.parametrize("way", WAYS)
async def test_a_process_that_is_killed_is_followed_by_the_next(
    link: Link, schema: str, way: str
) -> None:
    before = await rows(link, schema)
    flags = {"by schema": ["schema"], "by id": ["id", "--shards", "4"]}.get(
        way, ["id", "--shards", "4", "--online"]
    )
    holder = await asyncpg.connect(DSN)
    command = ["-m", "hephaestus_pg.migrate", "distribute", "--schema", schema, "--dsn", DSN]
    async with holder.transaction():
        await holder.execute(f"LOCK TABLE {schema}.workflow_instances IN ROW EXCLUSIVE MODE")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--by",
            *flags,
            env={**os.environ, "PYTHONPATH": str(Path(hephaestus_pg.__file__).parents[1])},
            stdout=PIPE,
            stderr=PIPE,
        )
        await until(
            link,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name = 'hephaestus_pg' AND query LIKE '%' || $1 || '%'",
            schema,
        )
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    await holder.close()
    result = await migrations.distribute(DSN, schema=schema, **WAYS[way])
    assert result.after == NOW[way]
    assert await rows(link, schema) == before


async def test_a_large_table_is_moved_only_if_asked(
    link: Link, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "REWRITE_UP_TO", 1)
    monkeypatch.setattr(distribution, "ONLINE_ABOVE", 1)
    with pytest.raises(RewriteRefusedError, match="--rewrite allows it"):
        await migrations.distribute(DSN, schema=schema, by="schema")
    with pytest.raises(RewriteRefusedError, match="--rewrite allows it"):
        await migrations.distribute(DSN, schema=schema, by="id", online=False)
    assert (await migrations.distribute(DSN, schema=schema, by="id", shards=4)).online
    with pytest.raises(RewriteRefusedError, match="--rewrite allows it"):
        await migrations.undistribute(DSN, schema=schema)
    await migrations.undistribute(DSN, schema=schema, rewrite=True)


async def test_obstacles_are_found_before_anything_is_made(link: Link, schema: str) -> None:
    table = f"{schema}.workflow_instances"
    await link.execute(f"""
        CREATE TABLE {schema}.orders (id varchar(255) REFERENCES {table} (id));
        CREATE FUNCTION {schema}.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER theirs AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.f();
    """)
    for way in WAYS.values():
        with pytest.raises(MigrationError, match="foreign key .*; the trigger theirs on workf"):
            await migrations.distribute(DSN, schema=schema, **way)
    assert (await migrations.status(DSN, schema=schema)).distribution is None
    assert await has_trigger(schema)
    await link.execute(f"DROP TRIGGER theirs ON {table}")
    await link.execute(f"DROP TABLE {schema}.orders")
    await migrations.distribute(DSN, schema=schema, by="id")
    for statement in (
        "CREATE TABLE {0}.orders (id varchar(255) PRIMARY KEY)",
        "SELECT create_distributed_table('{0}.orders', 'id', colocate_with => '{1}')",
        "ALTER TABLE {0}.orders ADD CONSTRAINT placed FOREIGN KEY (id) REFERENCES {1} (id)",
    ):
        await link.execute(statement.format(schema, table))
    with pytest.raises(MigrationError, match="undistributed yet: the foreign key placed of "):
        await migrations.undistribute(DSN, schema=schema)
    await link.execute(f"DROP TABLE {schema}.orders")
    await migrations.undistribute(DSN, schema=schema)


async def test_an_older_version_is_migrated_first(link: Link, schema: str) -> None:
    await migrations.down(DSN, schema=schema, version=5, allow_due_loss=True)
    with pytest.raises(SchemaOutdatedError, match="migrate up --schema"):
        await migrations.distribute(DSN, schema=schema, by="id")
    with pytest.raises(SchemaOutdatedError, match="migrate up --schema"):
        await migrations.plan_distribute(DSN, schema=schema, by="schema")
