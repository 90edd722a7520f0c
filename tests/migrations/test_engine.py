from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg import (
    _sql,
    migrations,
)
from hephaestus_pg.errors import (
    DataLossError,
    InvalidTypeError,
    InvalidValueError,
    MigrationChangedError,
    MigrationError,
    MigrationLockError,
    RejectedError,
    UnavailableError,
)
from hephaestus_pg.migrations import session
from hephaestus_pg.migrations.files import shipped
from tests.chaos.proxy import Proxy
from tests.support.catalog import PATIENCE, assert_is_at, snapshot, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

VERSIONS = range(1, migrations.LATEST + 1)
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation"
INSERT = """
    INSERT INTO {}.workflow_instances (id, workflow, inserted_at, updated_at)
    VALUES ($1, 'Elixir.Order', now(), now())
"""


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    yield connection
    await connection.close()


async def settings(link: asyncpg.Connection[Any]) -> list[str]:
    names = ("lock_timeout", "statement_timeout", "plan_cache_mode")
    return [await link.fetchval("SELECT current_setting($1)", name) for name in names]


async def advisory_locks(link: asyncpg.Connection[Any]) -> int:
    count: int = await link.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return count


async def test_each_version_up_and_down_leaves_what_is_expected_of_it(
    dsn: str, schema: str
) -> None:
    for version in VERSIONS:
        result = await migrations.up(dsn, schema=schema, version=version)
        assert (result.from_version, result.to_version) == (version - 1, version)
        assert [step.version for step in result.steps] == [version]
        assert await migrations.migrated_version(dsn, schema=schema) == version
        await assert_is_at(dsn, schema, version)
    for version in reversed(range(migrations.LATEST)):
        result = await migrations.down(dsn, schema=schema, version=version)
        assert (result.from_version, result.to_version) == (version + 1, version)
        assert [step.version for step in result.steps] == [version + 1]
        assert await migrations.migrated_version(dsn, schema=schema) == version
        await assert_is_at(dsn, schema, version)


async def test_one_step_at_a_time_leads_where_all_at_once_does(database: str) -> None:
    await migrations.up(database, schema="direct")
    for version in VERSIONS:
        await migrations.up(database, schema="stepwise", version=version)
    assert await snapshot(database, "direct") == await snapshot(database, "stepwise")


@pytest.mark.parametrize("version", range(migrations.LATEST))
async def test_up_down_up_is_the_same(dsn: str, schema: str, version: int) -> None:
    await migrations.up(dsn, schema=schema)
    before = await snapshot(dsn, schema)
    await migrations.down(dsn, schema=schema, version=version)
    await migrations.up(dsn, schema=schema)
    assert await snapshot(dsn, schema) == before


async def test_running_anything_twice_is_harmless(dsn: str, schema: str) -> None:
    for _ in range(2):
        await migrations.up(dsn, schema=schema)
    up = await snapshot(dsn, schema)
    assert (await migrations.up(dsn, schema=schema)).steps == ()
    assert (await migrations.up(dsn, schema=schema, version=2)).steps == ()
    assert await snapshot(dsn, schema) == up
    for version in (2, 2, 0, 0):
        await migrations.down(dsn, schema=schema, version=version)
        assert (await migrations.down(dsn, schema=schema, version=version)).steps == ()


async def test_every_file_can_be_run_twice_in_a_row(
    link: asyncpg.Connection[Any], dsn: str, schema: str
) -> None:
    def text(sql: str) -> str:
        return sql.replace("/* schema */", f'"{schema}".')

    for migration in shipped():
        await link.execute(text(migration.up))
        once = await snapshot(dsn, schema)
        await link.execute(text(migration.up))
        assert await snapshot(dsn, schema) == once
    for migration in reversed(shipped()):
        await link.execute(text(migration.down))
        once = await snapshot(dsn, schema)
        await link.execute(text(migration.down))
        assert await snapshot(dsn, schema) == once


async def test_down_to_nothing_leaves_the_schema_and_nothing_in_it(dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema)
    await migrations.down(dsn, schema=schema, version=0)
    assert (await snapshot(dsn, schema))["others"] == [("comment", None)]


async def test_up_makes_the_schema(database: str) -> None:
    result = await migrations.up(database, schema="tenant_a")
    assert result.schema == "tenant_a"
    assert await migrations.migrated_version(database, schema="tenant_a") == migrations.LATEST
    assert await migrations.migrated_version(database, schema="tenant_b") == 0


async def test_a_role_that_may_not_create_schemas_can_migrate_its_own(database: str) -> None:
    owner = await asyncpg.connect(database)
    role = f"role_{uuid4().hex}"
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    await owner.execute(f"CREATE SCHEMA tenant AUTHORIZATION {role}")
    try:
        await owner.execute(f"SET ROLE {role}")
        await migrations.up(connection=owner, schema="tenant")
        assert (
            await migrations.migrated_version(connection=owner, schema="tenant")
            == migrations.LATEST
        )
    finally:
        await owner.execute("RESET ROLE; DROP SCHEMA tenant CASCADE")
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()


async def test_sixteen_processes_at_once_apply_each_version_once(database: str) -> None:
    path = str(Path(hephaestus_pg.__file__).parents[1])
    command = [sys.executable, "-m", "hephaestus_pg.migrate", "up", "--schema", "fresh"]
    environment = {**os.environ, "HEPHAESTUS_PG_DSN": database, "PYTHONPATH": path}
    processes = [
        await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
        for _ in range(16)
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 16, outputs
    said = b"".join(out for out, _ in outputs).decode()
    for migration in shipped():
        assert said.count(f"applied {migration.version} ({migration.name})") == 1
    await assert_is_at(database, "fresh", migrations.LATEST)
    for _, error in outputs:  # who waits for long says so
        assert all(b"waiting for the lock" in line for line in error.splitlines())


async def test_sixteen_at_once_up_and_down_end_where_one_of_them_says(database: str) -> None:
    await asyncio.gather(
        *(
            migrations.up(database, schema="busy")
            if number % 2
            else migrations.down(database, schema="busy", version=0)
            for number in range(16)
        )
    )
    version = await migrations.migrated_version(database, schema="busy")
    assert version in {0, migrations.LATEST}
    await assert_is_at(database, "busy", version)


async def test_status_lists_every_migration(dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    status = await migrations.status(dsn, schema=schema)
    assert (status.schema, status.version) == (schema, 2)
    assert [each.state for each in status.migrations] == ["applied"] * 2 + ["pending"] * (
        migrations.LATEST - 2
    )
    assert [each.version for each in status.pending] == list(VERSIONS[2:])
    assert [bool(each.applied_at) for each in status.migrations[:3]] == [True, True, False]
    assert status.migrations[0].name == "create_workflow_instances"


async def test_a_file_changed_after_it_was_applied_stops_the_run(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.up(dsn, schema=schema, version=3)
    before = await snapshot(dsn, schema)
    first, second, *others = shipped()
    changed = (first, replace(second, up=second.up + "-- and more"), *others)
    for module in ("hephaestus_pg.migrations.engine", "hephaestus_pg.migrations.state"):
        monkeypatch.setattr(f"{module}.shipped", lambda: changed)

    with pytest.raises(MigrationChangedError, match=r"migration 2 .*restore the file") as caught:
        await migrations.up(dsn, schema=schema)
    assert (caught.value.version, caught.value.name) == (2, "add_workflow_version")
    assert caught.value.schema == schema
    with pytest.raises(MigrationChangedError):
        await migrations.down(dsn, schema=schema, version=0)
    assert await snapshot(dsn, schema) == before
    status = await migrations.status(dsn, schema=schema)
    assert [each.state for each in status.migrations] == [
        "applied",
        "changed",
        "applied",
        "pending",
        "pending",
    ]


async def test_a_version_of_a_newer_release_stands(
    link: asyncpg.Connection[Any], dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema)
    await link.execute(
        f"INSERT INTO {schema}.hephaestus_pg_migrations VALUES (99, 'from_the_future', '')"
    )
    result = await migrations.up(dsn, schema=schema)
    assert result.to_version == 99
    assert "newer than this release" in result.notes[0]
    assert (await migrations.status(dsn, schema=schema)).migrations[-1].state == "unknown"
    with pytest.raises(MigrationError, match="take it back with the one that applied it"):
        await migrations.down(dsn, schema=schema, version=0)
    await assert_is_at(dsn, schema, migrations.LATEST)


async def test_a_version_that_is_missing_below_others_is_applied(
    link: asyncpg.Connection[Any], dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema)
    await link.execute(f"DELETE FROM {schema}.hephaestus_pg_migrations WHERE version = 2")
    result = await migrations.up(dsn, schema=schema)
    assert [step.version for step in result.steps] == [2]


class TestGuards:
    async def test_instances_are_not_dropped_unasked(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        await link.execute(INSERT.format(schema), "order::1")
        with pytest.raises(DataLossError, match=r"lose the instances .*--allow-row-loss") as caught:
            await migrations.down(dsn, schema=schema, version=0)
        assert caught.value.flag == "--allow-row-loss"
        # Nor is any of the steps before it taken back.
        await assert_is_at(dsn, schema, migrations.LATEST)
        assert await migrations.migrated_version(dsn, schema=schema) == migrations.LATEST
        assert await link.fetchval(f"SELECT count(*) FROM {schema}.workflow_instances") == 1
        await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)
        await assert_is_at(dsn, schema, 0)

    async def test_workflow_versions_are_not_dropped_unasked(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        await link.execute(INSERT.format(schema), "order::1")
        await link.execute(f"UPDATE {schema}.workflow_instances SET workflow_version = 2")
        with pytest.raises(DataLossError, match="--allow-version-loss"):
            await migrations.down(dsn, schema=schema, version=1, allow_row_loss=True)
        await assert_is_at(dsn, schema, migrations.LATEST)
        await migrations.down(dsn, schema=schema, version=1, allow_version_loss=True)
        assert await migrations.migrated_version(dsn, schema=schema) == 1
        assert await link.fetchval(f"SELECT id FROM {schema}.workflow_instances") == "order::1"

    async def test_instances_of_version_1_are_no_reason_to_refuse(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        await link.execute(INSERT.format(schema), "0191e0a4-5b0c-7d3e-8f00-000000000001")
        await migrations.down(dsn, schema=schema, version=1)
        await assert_is_at(dsn, schema, 1)

    @pytest.mark.parametrize(
        "id",
        ("order::1", "0191E0A4-5B0C-7D3E-8F00-000000000001", "0191e0a45b0c7d3e8f00000000000001"),
    )
    async def test_ids_stay_text_unless_all_are_uuids_as_they_stand(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str, id: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        for each in (id, "0191e0a4-5b0c-7d3e-8f00-000000000001"):
            await link.execute(INSERT.format(schema), each)
        result = await migrations.down(dsn, schema=schema, version=2)
        assert result.steps[-1].notes == ("ids stay varchar(255): not all of them are UUIDs",)
        kept = await link.fetch(f"SELECT id FROM {schema}.workflow_instances")
        assert id in [row["id"] for row in kept]
        await migrations.up(dsn, schema=schema)
        await assert_is_at(dsn, schema, migrations.LATEST)

    async def test_uuids_turn_back(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        uuid = "0191e0a4-5b0c-7d3e-8f00-000000000001"
        await link.execute(INSERT.format(schema), uuid)
        result = await migrations.down(dsn, schema=schema, version=2)
        assert result.steps[-1].notes == ()
        assert str(await link.fetchval(f"SELECT id FROM {schema}.workflow_instances")) == uuid


class TestAllOrNothing:
    """What the way down would meet at any step is known before the first is taken."""

    @pytest.mark.parametrize(
        ("made", "target"),
        (
            ("CREATE VIEW {0}.seen AS SELECT id FROM {0}.workflow_instances", 0),
            ("CREATE VIEW {0}.seen AS SELECT workflow_version FROM {0}.workflow_instances", 1),
            ("CREATE VIEW {0}.seen AS SELECT revision FROM {0}.workflow_instances", 3),
            ("CREATE VIEW {0}.seen AS SELECT id FROM {0}.workflow_instances", 2),
            (
                "CREATE TABLE {0}.orders (id varchar(255) REFERENCES {0}.workflow_instances (id))",
                0,
            ),
        ),
    )
    async def test_what_depends_on_it_is_no_surprise_in_the_middle(
        self, link: asyncpg.Connection[Any], dsn: str, migrated: str, made: str, target: int
    ) -> None:
        await link.execute(made.format(migrated))
        before = await snapshot(dsn, migrated)
        done: list[migrations.Step] = []
        with pytest.raises(RejectedError, match="depend|used by a view|foreign key"):
            await migrations.down(dsn, schema=migrated, version=target, progress=done.append)
        assert done == []
        assert await snapshot(dsn, migrated) == before
        assert await migrations.migrated_version(dsn, schema=migrated) == migrations.LATEST

    async def test_a_script_refuses_likewise(
        self, link: asyncpg.Connection[Any], dsn: str, migrated: str
    ) -> None:
        await link.execute(INSERT.format(migrated), "order::1")
        before = await snapshot(dsn, migrated)
        for version in (0, 1):
            await link.execute(f"UPDATE {migrated}.workflow_instances SET workflow_version = 2")
            with pytest.raises(asyncpg.PostgresError, match="would lose"):
                await link.execute(migrations.sql("down", schema=migrated, version=version))
            await link.execute("ROLLBACK")
            assert await snapshot(dsn, migrated) == before

    async def test_the_rows_that_may_be_lost_take_their_versions_along(
        self, link: asyncpg.Connection[Any], dsn: str, migrated: str
    ) -> None:
        await link.execute(INSERT.format(migrated), "order::1")
        await link.execute(f"UPDATE {migrated}.workflow_instances SET workflow_version = 2")
        await migrations.down(dsn, schema=migrated, version=0, allow_row_loss=True)
        await assert_is_at(dsn, migrated, 0)

    async def test_steps_are_told_as_they_are_committed(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema, version=2)
        await link.execute(
            f"CREATE VIEW {schema}.ids AS SELECT id FROM {schema}.workflow_instances"
        )
        await migrations.down(dsn, schema=schema, version=1)
        done: list[migrations.Step] = []
        with pytest.raises(RejectedError):  # by 3, which widens the id that the view shows
            await migrations.up(dsn, schema=schema, progress=done.append)
        assert [step.version for step in done] == [2]


class TestReadOnly:
    @pytest.mark.parametrize("work", ("up", "down", "index"))
    @pytest.mark.parametrize("where", ("the database", "the connection"))
    async def test_a_setting_that_makes_all_read_only_is_named(
        self, database: str, work: str, where: str
    ) -> None:
        await migrations.up(database, version=4)
        link = await asyncpg.connect(database)
        name = await link.fetchval("SELECT current_database()")
        setting = "SET default_transaction_read_only = on"
        await link.execute(
            f"ALTER DATABASE {name} {setting}" if where == "the database" else setting
        )
        given: dict[str, Any] = (
            {"dsn": database} if where == "the database" else {"connection": link}
        )
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "up": lambda: migrations.up(**given),
            "down": lambda: migrations.down(**given, version=2),
            "index": lambda: migrations.index(**given, profile="none"),
        }
        with pytest.raises(
            MigrationError, match=r"default_transaction_read_only = on.*another role"
        ):
            await calls[work]()
        assert (await migrations.status(**given)).version == 4
        await link.close()


class TestLocks:
    @pytest.mark.parametrize("kind", ("advisory", "table", "prepared"))
    async def test_who_is_in_the_way_is_said_after_a_while(
        self,
        database: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        kind: str,
    ) -> None:
        monkeypatch.setattr("hephaestus_pg.migrations.waits.SAY_AFTER", 0.0)
        monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
        await migrations.up(database, version=3)
        holder = await asyncpg.connect(
            database, server_settings={"application_name": "the nightly report"}
        )
        who = rf"process {holder.get_server_pid()} \(the nightly report\), since 2\d\d\d-.* UTC"
        if kind == "advisory":
            await holder.execute(_sql.statement("migrations_lock", "public"))
            release = _sql.statement("migrations_unlock", "public")
        elif kind == "table":
            await holder.execute("BEGIN; SELECT count(*) FROM workflow_instances")
            release = "ROLLBACK"
        else:
            if await holder.fetchval("SHOW max_prepared_transactions") == "0":
                await holder.close()
                pytest.skip("the server has no prepared transactions")
            await holder.execute("BEGIN; DELETE FROM workflow_instances; PREPARE TRANSACTION 'x'")
            release, who = "ROLLBACK PREPARED 'x'", r"a prepared transaction \(pg_prepared_xacts\)"
        with pytest.raises(MigrationLockError, match=who):
            await migrations.up(database, wait=0)
        task = asyncio.create_task(migrations.up(database))
        async with asyncio.timeout(30):
            while "waiting for" not in caplog.text:
                await asyncio.sleep(0.01)
        await holder.execute(release)
        await task
        await holder.close()
        found = [each.getMessage() for each in caplog.records if "waiting for" in each.getMessage()]
        assert len(found) == 1
        what = "the lock of its migrations" if kind == "advisory" else "its tables"
        assert re.fullmatch(rf"schema public: waiting for {what}: .*{who}.*", found[0])

    async def test_and_where_the_server_itself_waits(
        self, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An index that is built concurrently waits for every transaction that began before."""
        monkeypatch.setattr("hephaestus_pg.migrations.waits.SAY_AFTER", 0.0)
        await migrations.up(database, version=3)
        holder = await asyncpg.connect(database)
        await holder.execute("BEGIN; DELETE FROM workflow_instances")
        task = asyncio.create_task(migrations.up(database, online=True))
        said = f"waiting for transactions that use its tables: process {holder.get_server_pid()}"
        async with asyncio.timeout(30):
            while said not in caplog.text:
                await asyncio.sleep(0.01)
        await holder.execute("ROLLBACK")
        await task
        await holder.close()

    async def test_who_waits_too_long_for_another_run_is_told(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        async with session.MigrationSession.opened(link, schema, wait=1):
            with pytest.raises(MigrationLockError, match="another process has been migrating"):
                await migrations.up(dsn, schema=schema, wait=0.2)
        await migrations.up(dsn, schema=schema, wait=0.2)

    async def test_schemas_are_migrated_independently(self, database: str) -> None:
        other = await asyncpg.connect(database)
        async with session.MigrationSession.opened(other, "tenant_a", wait=1):
            await migrations.up(database, schema="tenant_b", wait=0.2)
        await other.close()

    async def test_a_table_in_use_is_waited_for_without_stopping_its_readers(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
        await migrations.up(dsn, schema=schema, version=2)
        reader = await asyncpg.connect(dsn, command_timeout=PATIENCE)
        count = f"SELECT count(*) FROM {schema}.workflow_instances"
        held = link.transaction()
        await held.start()
        await link.fetchval(count)
        task = asyncio.create_task(migrations.up(dsn, schema=schema, wait=60))
        queued = f"""
            SELECT count(*) FROM pg_locks
            WHERE relation = '{schema}.workflow_instances'::regclass AND NOT granted
        """
        for _ in range(3):  # It asks again and again, and every time lets go.
            await until(link, queued)
            await reader.fetchval(count)
        assert not task.done()
        await held.rollback()
        result = await task
        assert result.to_version == migrations.LATEST
        await reader.close()

    async def test_a_table_that_stays_in_use_ends_the_run_with_advice(
        self, link: asyncpg.Connection[Any], dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema, version=2)
        async with link.transaction():
            await link.fetchval(f"SELECT count(*) FROM {schema}.workflow_instances")
            with pytest.raises(MigrationLockError, match="pg_stat_activity"):
                await migrations.up(dsn, schema=schema, wait=0)
        assert await migrations.migrated_version(dsn, schema=schema) == 2

    async def test_a_cancelled_run_lets_go_of_everything(self, database: str) -> None:
        other, mine = await asyncpg.connect(database), await asyncpg.connect(database)
        await mine.execute("SET lock_timeout = '7s'")
        await migrations.up(database, version=2)
        before = await settings(mine)
        async with other.transaction():
            await other.fetchval("SELECT count(*) FROM workflow_instances")
            task = asyncio.create_task(migrations.up(connection=mine))
            queued = """
                SELECT count(*) FROM pg_locks
                WHERE relation = 'workflow_instances'::regclass AND NOT granted
            """
            await until(other, queued)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await advisory_locks(other) == 0
        assert await settings(mine) == before
        await migrations.up(connection=mine)
        await asyncio.gather(other.close(), mine.close())

    async def test_a_failed_run_lets_go_of_everything(self, database: str) -> None:
        mine = await asyncpg.connect(database)
        before = await settings(mine)
        await migrations.up(connection=mine, version=2)
        await mine.execute("CREATE VIEW ids AS SELECT id FROM workflow_instances")
        with pytest.raises(RejectedError, match="view"):
            await migrations.up(connection=mine)
        assert await advisory_locks(mine) == 0
        assert await settings(mine) == before
        assert await migrations.migrated_version(connection=mine) == 2
        await mine.close()


class TestArguments:
    async def test_a_connection_of_the_callers_own_stays_open(
        self, link: asyncpg.Connection[Any], schema: str
    ) -> None:
        await migrations.up(connection=link, schema=schema)
        assert (
            await migrations.migrated_version(connection=link, schema=schema) == migrations.LATEST
        )
        assert (
            len((await migrations.status(connection=link, schema=schema)).migrations)
            == migrations.LATEST
        )
        await migrations.down(connection=link, schema=schema, version=0)
        assert not link.is_closed()

    async def test_a_connection_in_a_transaction_is_refused(
        self, link: asyncpg.Connection[Any], schema: str
    ) -> None:
        async with link.transaction():
            with pytest.raises(InvalidValueError, match="outside a transaction"):
                await migrations.up(connection=link, schema=schema)
            assert await migrations.migrated_version(connection=link, schema=schema) == 0

    @pytest.mark.parametrize("own", (True, False), ids=("a dsn", "a connection"))
    async def test_a_cancel_ends_soon_though_the_network_is_silent(
        self,
        dsn: str,
        migrated: str,
        link: asyncpg.Connection[Any],
        monkeypatch: pytest.MonkeyPatch,
        *,
        own: bool,
    ) -> None:
        monkeypatch.setattr(session, "GOODBYE_SECONDS", 0.2)
        parts = urlsplit(dsn)
        if parts.hostname not in ("127.0.0.1", "localhost"):
            pytest.skip("the proxy is for a server on this machine")
        async with Proxy(lambda: parts.port or 5432) as proxy, link.transaction():
            user, at, _ = parts.netloc.rpartition("@")
            through = parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()
            given: dict[str, Any] = {"dsn": through}
            if not own:
                given = {"connection": await asyncpg.connect(through, statement_cache_size=0)}
            await link.execute(f"LOCK {migrated}.workflow_instances")
            down = asyncio.create_task(migrations.down(schema=migrated, version=0, **given))
            async with asyncio.timeout(PATIENCE):
                await until(link, f"{WAITING} = '{migrated}.workflow_instances'::regclass")
                proxy.lose()
                down.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await down
        async with asyncio.timeout(PATIENCE):
            while await advisory_locks(link):  # the server sees the connection end
                await asyncio.sleep(0.01)

    async def test_a_pools_connection_will_do(
        self, pool: asyncpg.Pool[asyncpg.Record], schema: str
    ) -> None:
        async with pool.acquire() as connection:
            await migrations.up(connection=connection, schema=schema)
            assert (
                await migrations.migrated_version(connection=connection, schema=schema)
                == migrations.LATEST
            )

    async def test_a_dsn_and_a_connection_are_one_too_many(
        self, link: asyncpg.Connection[Any], dsn: str
    ) -> None:
        with pytest.raises(InvalidValueError, match="not both"):
            await migrations.up(dsn, connection=link)

    @pytest.mark.parametrize("version", (0, -1, 99))
    async def test_a_version_that_there_is_not_is_refused(self, dsn: str, version: int) -> None:
        with pytest.raises(InvalidValueError, match="version is"):
            await migrations.up(dsn, version=version)

    @pytest.mark.parametrize("version", ("2", True, 2.0))
    async def test_a_version_is_a_number(self, dsn: str, version: Any) -> None:
        with pytest.raises(InvalidTypeError, match="version is"):
            await migrations.up(dsn, version=version)
        with pytest.raises(InvalidTypeError, match="version is"):
            await migrations.down(dsn, version=version)

    @pytest.mark.parametrize("schema", ("Public", "a b", "", "1a", 'a"; --', "a" * 64))
    async def test_a_schemas_name_follows_the_originals_rule(self, schema: str) -> None:
        for call in (migrations.up, migrations.migrated_version, migrations.status):
            with pytest.raises(InvalidValueError, match="schema is"):
                await call("postgresql://127.0.0.1:1/none", schema=schema)

    async def test_a_server_that_is_not_there_is_our_error_without_its_password(self) -> None:
        with pytest.raises(UnavailableError) as caught:
            await migrations.up("postgresql://user:secret@127.0.0.1:1/none")
        assert "secret" not in str(caught.value)
