"""Differences between a schema and its version table.

``status`` lists them, ``up`` mends those that touch no data, and ``start`` refuses those with which
nothing could be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, migrations
from hephaestus_pg.errors import MigrationError
from tests.support.catalog import assert_is_at, snapshot
from tests.support.databases import new_database
from tests.support.migrated import ROW, TABLE, command, start

if TYPE_CHECKING:
    from tests.support.migrated import Link


class TestPartsThatAreGone:
    @pytest.mark.parametrize(
        "gone",
        (
            f"DROP TABLE {TABLE}",
            f"ALTER TABLE {TABLE} DROP COLUMN workflow_version",
            f"ALTER TABLE {TABLE} DROP COLUMN revision CASCADE",
            f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey",
            f"DROP TRIGGER hephaestus_pg_raise_revision ON {TABLE}",
            "DROP FUNCTION hephaestus_pg_raise_revision CASCADE",
            f"ALTER TABLE {TABLE} DISABLE TRIGGER hephaestus_pg_raise_revision",
            f"ALTER TABLE {TABLE} DISABLE TRIGGER USER",
            f"ALTER TABLE {TABLE} ALTER COLUMN revision SET DEFAULT 1",
            f"ALTER TABLE {TABLE} ALTER COLUMN revision DROP DEFAULT",
            f"ALTER TABLE {TABLE} DROP COLUMN runner",
            f"ALTER TABLE {TABLE} DROP COLUMN due_at, DROP COLUMN attempts",
            "DROP TABLE workflow_runners",
        ),
    )
    async def test_up_brings_them_back(self, whole: str, link: Link, gone: str) -> None:
        before = await snapshot(whole, "public")
        await link.execute(gone)
        [difference] = (await migrations.status(whole)).differences[:1]
        assert difference.mend == "run: python -m hephaestus_pg.migrate up --schema public"

        await migrations.up(whole)

        assert (await migrations.status(whole)).differences == ()
        assert await snapshot(whole, "public") == before
        async with start(whole) as storage:
            await storage.put(Instance("x", "W"))

    async def test_revisions_do_not_begin_again_where_the_column_was_dropped(
        self, whole: str, link: Link
    ) -> None:
        async with start(whole) as storage:
            held = await storage.put(Instance("x", "W"))
        await link.execute(f"ALTER TABLE {TABLE} DROP COLUMN revision CASCADE")
        await migrations.up(whole)
        async with start(whole) as storage:
            assert (await storage.get("x")).revision > held.revision

    @pytest.mark.parametrize(
        "gone",
        (
            f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey",
            (
                f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey;"
                f" ALTER TABLE {TABLE} ADD PRIMARY KEY (workflow, id)"
            ),
            (
                f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey;"
                f" ALTER TABLE {TABLE} ADD PRIMARY KEY (id) DEFERRABLE"
            ),
            (
                f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey;"
                f" CREATE UNIQUE INDEX ON {TABLE} (id) WHERE status <> 'failed'"
            ),
            (
                f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey;"
                f" CREATE UNIQUE INDEX ON {TABLE} (lower(id))"
            ),
            (
                f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey;"
                f" CREATE INDEX ON {TABLE} (id)"
            ),
        ),
    )
    async def test_without_a_unique_id_a_storage_does_not_start(
        self,
        whole: str,
        link: Link,
        capsys: pytest.CaptureFixture[str],
        gone: str,
    ) -> None:
        await link.execute(gone)
        with pytest.raises(MigrationError, match="primary key"):
            await start(whole)
        code, out = await command(capsys, "status", "--dsn", whole)
        assert code == 1
        assert "problem: the table" in out

    async def test_another_unique_index_on_the_id_is_enough_to_start(
        self, whole: str, link: Link, caplog: pytest.LogCaptureFixture
    ) -> None:
        await link.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey")
        await link.execute(f"CREATE UNIQUE INDEX ON {TABLE} (id) INCLUDE (status)")
        async with start(whole) as storage:
            await storage.put(Instance("x", "W"))
            await storage.put(Instance("x", "W"))
        assert "has no primary key" in caplog.text
        assert (await migrations.status(whole)).differences
        assert "has one again" in (await migrations.up(whole)).notes[0]
        assert (await migrations.status(whole)).differences == ()

    @pytest.mark.parametrize(
        ("column", "kind"),
        (
            ("state", "json"),
            ("state", "text"),
            ("updated_at", "timestamptz"),
            ("inserted_at", "date"),
            ("workflow_version", "bigint"),
            ("revision", "integer"),
            ("status", "name"),
            ("due_at", "timestamp"),
            ("attempts", "bigint"),
        ),
    )
    async def test_a_wrong_type_is_reported_and_not_changed(
        self, whole: str, link: Link, column: str, kind: str
    ) -> None:
        await link.execute(f"DROP TRIGGER hephaestus_pg_raise_revision ON {TABLE}")
        await link.execute("DROP INDEX idx_workflow_instances_state")
        await link.execute(f"ALTER TABLE {TABLE} ALTER COLUMN {column} DROP DEFAULT")
        await link.execute(
            f"ALTER TABLE {TABLE} ALTER COLUMN {column} TYPE {kind} USING {column}::text::{kind}"
        )
        found = (await migrations.status(whole)).differences[0]
        assert str(found).startswith(f"the column {column} is of type ")
        assert f"ALTER COLUMN {column} TYPE " in found.mend
        with pytest.raises(MigrationError, match=f"the column {column} is of type"):
            await start(whole)
        result = await migrations.up(whole)
        assert any(f"still wrong: the column {column}" in note for note in result.notes)

        await link.execute(found.mend.removeprefix("run: "))

        await migrations.up(whole)
        await link.execute(
            f"CREATE INDEX idx_workflow_instances_state ON {TABLE} USING gin (state jsonb_path_ops)"
        )
        await assert_is_at(whole, "public", migrations.LATEST)
        assert (await migrations.status(whole)).differences == ()

    @pytest.mark.parametrize("column", ("id", "workflow", "status", "state", "inserted_at"))
    async def test_a_column_that_up_cannot_restore_is_named(
        self, whole: str, link: Link, column: str
    ) -> None:
        await link.execute(f"ALTER TABLE {TABLE} DROP COLUMN {column}")
        assert f"the column {column} is missing" in (
            each.what for each in (await migrations.status(whole)).differences
        )
        with pytest.raises(MigrationError, match=f"the column {column} is missing"):
            await start(whole)

    @pytest.mark.parametrize("kind", ("varchar(100)", "varchar", "text"))
    async def test_a_wider_text_is_no_difference(self, whole: str, link: Link, kind: str) -> None:
        for column in ("id", "workflow", "status"):
            await link.execute(f"ALTER TABLE {TABLE} ALTER COLUMN {column} TYPE {kind}")
        assert (await migrations.status(whole)).differences == ()
        async with start(whole) as storage:
            await storage.put(Instance("x", "W"))

    async def test_a_missing_trigger_is_logged_at_start(
        self, whole: str, link: Link, caplog: pytest.LogCaptureFixture
    ) -> None:
        await link.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        async with start(whole):
            pass
        assert "makes every writer raise revision; run: python -m" in caplog.text

    async def test_a_partial_restore_is_completed(self, whole: str, link: Link) -> None:
        """Tables and rows, without what comes after the data in a dump."""
        before = await snapshot(whole, "public")
        await link.execute(ROW)
        await link.execute(f"DROP TRIGGER hephaestus_pg_raise_revision ON {TABLE}")
        await link.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey")
        await link.execute("ALTER TABLE hephaestus_pg_migrations DROP CONSTRAINT IF EXISTS x")
        await migrations.up(whole)
        assert await snapshot(whole, "public") == before


class TestEncodings:
    OPTIONS = " ENCODING '{}' LOCALE 'C' TEMPLATE template0"

    @pytest.mark.parametrize(
        "encoding", ("LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP", "LATIN9", "KOI8R")
    )
    async def test_a_database_that_is_not_utf8_is_refused_in_a_sentence(
        self, pytestconfig: Any, capsys: pytest.CaptureFixture[str], encoding: str
    ) -> None:
        with new_database(pytestconfig, self.OPTIONS.format(encoding)) as dsn:
            said = f"has the encoding {encoding}, which cannot hold every text; use one made by"
            with pytest.raises(MigrationError, match=said):
                await migrations.up(dsn)
            connection = await asyncpg.connect(dsn)
            assert not await connection.fetchval(f"SELECT to_regclass('{TABLE}')")
            with pytest.raises(asyncpg.RaiseError, match=f"has the encoding {encoding}"):
                await connection.execute(migrations.sql("up"))
            # One that an earlier release has migrated.
            earlier = migrations.sql("up").replace("<> 'UTF8'", "= 'none'")
            await connection.execute(f"ROLLBACK; {earlier}")
            await connection.close()
            with pytest.raises(MigrationError, match=said):
                await start(dsn)
            code, out = await command(capsys, "status", "--dsn", dsn)
            assert code == 1
            assert f"has the encoding {encoding}" in out
            await migrations.down(dsn, version=0)

    @pytest.mark.parametrize("encoding", ("LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"))
    async def test_a_clients_encoding_set_for_all_is_overruled(
        self,
        database: str,
        link: Link,
        monkeypatch: pytest.MonkeyPatch,
        encoding: str,
    ) -> None:
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        name = await link.fetchval("SELECT current_database()")
        await link.execute(f"ALTER DATABASE {name} SET client_encoding = '{encoding}'")
        await migrations.up(database)
        async with start(database) as storage:
            stored = await storage.put(Instance("日本 é…", "W", runtime_metadata={"日": "é…"}))
            assert await storage.get(stored.id) == stored

    @pytest.mark.parametrize("encoding", ("LATIN1", "SQL_ASCII"))
    async def test_a_pool_that_sets_another_is_refused(self, whole: str, encoding: str) -> None:
        async def init(connection: Any) -> None:
            await connection.execute(f"SET client_encoding = '{encoding}'")

        async with asyncpg.create_pool(whole, min_size=0, init=init) as pool:
            with pytest.raises(MigrationError, match=f"client_encoding {encoding}.*leave it at"):
                await AsyncStorage.start(pool=pool, references=Names())
