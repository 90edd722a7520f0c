from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg import _sql, migrations
from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    MigrationChangedError,
    MigrationError,
)
from hephaestus_pg.migrations.files import shipped
from tests.support import citus
from tests.support.catalog import assert_is_at, snapshot

if TYPE_CHECKING:
    from tests.support.migrated import Link

VERSIONS = range(1, migrations.LATEST + 1)


async def test_each_version_up_and_down_leaves_its_own_table(dsn: str, schema: str) -> None:
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


async def test_with_citus_statements_are_sent_one_by_one(
    link: Link, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a distributed table it takes no text of several, if one makes or drops an index."""

    async def has_citus(*_: object) -> bool:
        return True

    monkeypatch.setattr("hephaestus_pg.migrations.session.check_connection", has_citus)
    sent: list[str] = []
    link.add_query_logger(lambda record: sent.append(record.query))
    for online in (False, True):
        await migrations.up(connection=link, schema=schema, online=online)
        for profile in ("initial", "none", "full"):
            await migrations.index(connection=link, schema=schema, profile=profile)
        await migrations.down(connection=link, schema=schema, version=0)
    assert sum("INDEX" in text for text in sent) > 20
    several = [text for text in sent if len(_sql.split(text)) != 1]
    assert [text for text in several if not text.startswith("SET LOCAL citus.")] == []


@pytest.mark.skipif(bool(citus.KIND), reason="statements are sent one by one there")
async def test_on_a_plain_server_each_version_takes_four_round_trips(
    link: Link, schema: str
) -> None:
    """BEGIN, the statements, the record and COMMIT; a far server would make more of them slow."""
    sent: list[str] = []
    link.add_query_logger(lambda record: sent.append(record.query))
    await migrations.up(connection=link, schema=schema)
    assert sum(text == "COMMIT;" for text in sent) == 1 + migrations.LATEST
    assert len(sent) <= 13 + 4 * migrations.LATEST
    sent.clear()
    await migrations.up(connection=link, schema=schema)
    assert len(sent) <= 11


async def test_one_step_at_a_time_makes_the_same_schema_as_all_at_once(database: str) -> None:
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


async def test_every_file_can_be_run_twice_in_a_row(link: Link, dsn: str, schema: str) -> None:
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


@pytest.mark.once
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


async def test_up_and_down_at_once_end_at_the_version_of_one_of_them(database: str) -> None:
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


async def test_a_file_changed_after_it_was_applied_stops_the_run(
    link: Link, dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema, version=3)
    before = await snapshot(dsn, schema)
    await link.execute(
        f"UPDATE {schema}.hephaestus_pg_migrations SET checksum = 'another' WHERE version = 2"
    )

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
        *["pending"] * (migrations.LATEST - 3),
    ]


async def test_a_version_of_a_newer_release_is_kept(link: Link, dsn: str, schema: str) -> None:
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
    link: Link, dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema)
    await link.execute(f"DELETE FROM {schema}.hephaestus_pg_migrations WHERE version = 2")
    result = await migrations.up(dsn, schema=schema)
    assert [step.version for step in result.steps] == [2]


async def test_an_event_trigger_and_a_search_path_are_no_obstacle(
    database: str, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await link.execute(
        "CREATE TABLE ddl (tag text); CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE"
        " plpgsql AS 'BEGIN INSERT INTO public.ddl VALUES (tg_tag); END';"
        "CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION note_ddl()"
    )
    name = await link.fetchval("SELECT current_database()")
    await link.execute(
        f"CREATE SCHEMA elsewhere; ALTER DATABASE {name} SET search_path = elsewhere"
    )
    await asyncio.gather(
        migrations.up(database, schema="one", online=True), migrations.up(database, schema="two")
    )
    for schema in ("one", "two"):
        await assert_is_at(database, schema, migrations.LATEST)
    assert await snapshot(database, "one") == await snapshot(database, "two")
    assert await link.fetchval("SELECT count(*) FROM ddl")


class TestArguments:
    @pytest.mark.parametrize("version", (0, -1, 99))
    async def test_an_unknown_version_is_refused(self, dsn: str, version: int) -> None:
        with pytest.raises(InvalidValueError, match="version is"):
            await migrations.up(dsn, version=version)

    @pytest.mark.parametrize("version", ("2", True, 2.0))
    async def test_a_version_is_a_number(self, dsn: str, version: Any) -> None:
        with pytest.raises(InvalidTypeError, match="version is"):
            await migrations.up(dsn, version=version)
        with pytest.raises(InvalidTypeError, match="version is"):
            await migrations.down(dsn, version=version)

    @pytest.mark.parametrize("flag", ("false", "no", "", 0, 1))
    async def test_a_flag_is_true_or_false(self, dsn: str, schema: str, flag: Any) -> None:
        """A text of the environment, such as "false", counts as true, and drops tables."""
        await migrations.up(dsn, schema=schema)
        for name in ("allow_row_loss", "allow_version_loss", "allow_due_loss"):
            with pytest.raises(InvalidTypeError, match=f"^{name} is .*: give True or False"):
                await migrations.down(dsn, schema=schema, version=0, **{name: flag})
        for call in (migrations.up, migrations.plan):
            with pytest.raises(InvalidTypeError, match="^online is .*: give True or False"):
                await call(dsn, schema=schema, online=flag)
        with pytest.raises(InvalidTypeError, match="^rewrite is .*: give True or False"):
            await migrations.index(dsn, schema=schema, profile="initial", rewrite=flag)
        assert await migrations.migrated_version(dsn, schema=schema) == migrations.LATEST

    async def test_progress_that_could_not_be_called_is_refused_before_a_step(
        self, dsn: str, schema: str
    ) -> None:
        async def report(step: object) -> None:
            del step

        for progress in (report, 3):
            given: dict[str, Any] = {"schema": schema, "progress": progress}
            with pytest.raises(InvalidTypeError, match="^progress is .*a step, not async"):
                await migrations.up(dsn, **given)
            with pytest.raises(InvalidTypeError, match="^progress is .*a step, not async"):
                await migrations.down(dsn, version=0, **given)
        assert await migrations.migrated_version(dsn, schema=schema) == 0

    @pytest.mark.parametrize("schema", ("Public", "a b", "", "1a", 'a"; --', "a" * 64))
    async def test_a_schemas_name_follows_the_originals_rule(self, schema: str) -> None:
        for call in (migrations.up, migrations.migrated_version, migrations.status):
            with pytest.raises(InvalidValueError, match="schema is"):
                await call("postgresql://127.0.0.1:1/none", schema=schema)
