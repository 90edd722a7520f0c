"""What a schema really holds, whatever its version table says.

HephaestusEcto's own way down, a restore of a part, or a hand may take away what was recorded. Then
``status`` says what differs, ``up`` mends it where no data is at stake, and ``start`` refuses where
nothing could be written.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    InstanceError,
    MigrationError,
    Names,
    RejectedError,
    SchemaOutdatedError,
    UnrecognizedSchemaError,
    migrate,
    migrations,
    prune,
)
from tests.conftest import new_database
from tests.migrations.test_adoption import ORIGINAL
from tests.support.catalog import assert_is_at, snapshot, until_waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Link = asyncpg.Connection[Any]

# As HephaestusEcto's migrations write the way down, from that version.
ORIGINAL_DOWN = {
    3: "ALTER TABLE workflow_instances ALTER COLUMN id TYPE uuid USING id::uuid",
    2: """
        DROP INDEX IF EXISTS workflow_instances_workflow_workflow_version_index;
        ALTER TABLE workflow_instances DROP COLUMN IF EXISTS workflow_version;
        """,
    1: "DROP TABLE IF EXISTS workflow_instances",
}
UUID = "0191e0a4-5b0c-7d3e-8f00-000000000001"
ROW = "INSERT INTO workflow_instances (id, workflow, inserted_at, updated_at) VALUES "
ROW += f"('{UUID}', 'W', now(), now())"
TABLE = "workflow_instances"


@pytest.fixture
async def link(database: str) -> AsyncIterator[Link]:
    connection = await asyncpg.connect(database, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def whole(database: str) -> str:
    """The DSN of a database for this test alone, with all migrations in its public schema."""
    await migrations.up(database)
    return database


def start(dsn: str) -> Any:
    return AsyncStorage.start(dsn, references=Names())


async def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = await asyncio.to_thread(migrate.main, list(arguments))
    return code, capsys.readouterr().out


class TestAfterTheOriginalsWayDown:
    @pytest.mark.parametrize("target", (0, 1, 2))
    @pytest.mark.parametrize("again", (True, False), ids=("its up too", "only down"))
    async def test_status_says_so_and_up_mends_it(
        self,
        whole: str,
        link: Link,
        capsys: pytest.CaptureFixture[str],
        target: int,
        *,
        again: bool,
    ) -> None:
        before = await snapshot(whole, "public")
        await link.execute(ROW)
        for version in range(3, target, -1):
            await link.execute(ORIGINAL_DOWN[version])
        if target:
            await link.execute(f"COMMENT ON TABLE {TABLE} IS '{target}'")
        if again and target:
            await link.execute(ORIGINAL[target + 1].partition("UPDATE")[0].partition("INSERT")[0])
        elif again:
            await link.execute(ORIGINAL[1].partition("INSERT")[0])
        left = target + again

        assert await migrations.migrated_version(whole) == (5 if left == 3 else left)
        if left < 3:
            code, out = await command(capsys, "status", "--dsn", whole)
            assert code == 1
            assert f"schema public is at version {left}, latest is 5" in out
            assert "(what it made is gone)" in out
            assert "run: python -m hephaestus_pg.migrate up --schema public" in out
            with pytest.raises(SchemaOutdatedError) as caught:
                await start(whole)
            assert (caught.value.found, caught.value.needed) == (left, 5)

        result = await migrations.up(whole)

        assert (result.from_version, result.to_version) == (5 if left == 3 else left, 5)
        await assert_is_at(whole, "public", 5)
        assert (await migrations.status(whole)).differences == ()
        async with start(whole) as storage:
            assert (await storage.get(UUID) is not None) is bool(target)
            await storage.put(Instance("x", "W"))
        await link.execute("DELETE FROM workflow_instances")
        await link.execute(f"COMMENT ON TABLE {TABLE} IS NULL")
        assert await snapshot(whole, "public") == before

    @pytest.mark.parametrize("version", ORIGINAL)
    async def test_up_in_the_same_moment_as_its_up(
        self, database: str, link: Link, version: int
    ) -> None:
        """IF NOT EXISTS sees nothing of what another transaction is about to commit."""
        theirs = await asyncpg.connect(database)
        transaction = theirs.transaction()
        await transaction.start()
        for each in range(1, version + 1):
            await theirs.execute(ORIGINAL[each])
        await theirs.execute(f"COMMENT ON TABLE {TABLE} IS '{version}'")
        ours = asyncio.create_task(migrations.up(database))
        await until_waiting(link, "CREATE TABLE IF NOT EXISTS", "transactionid")
        await transaction.commit()
        assert (await ours).to_version == 5
        await assert_is_at(database, "public", 5)
        await theirs.close()

    async def test_a_table_younger_than_the_snapshot_is_not_there_yet(self, database: str) -> None:
        looking, theirs = await asyncpg.connect(database), await asyncpg.connect(database)
        async with looking.transaction(isolation="repeatable_read"):
            await looking.execute("SELECT 1")  # takes the snapshot
            await theirs.execute(ORIGINAL[1])
            assert (await migrations.status(connection=looking)).version == 0
        assert (await migrations.status(connection=looking)).version == 1
        await looking.close()
        await theirs.close()

    async def test_many_of_both_at_once_on_an_empty_schema(self, pytestconfig: Any) -> None:
        text = "".join(
            f"{ORIGINAL[version].partition('INSERT')[0].partition('UPDATE')[0]};"
            for version in ORIGINAL
        )
        for made in ("TABLE", "INDEX"):
            text = text.replace(f"CREATE {made}", f"CREATE {made} IF NOT EXISTS")
        text = text.replace("ADD COLUMN", "ADD COLUMN IF NOT EXISTS")

        async def theirs(dsn: str) -> None:
            connection = await asyncpg.connect(dsn)
            with suppress(asyncpg.PostgresError):  # it is theirs to try again
                await connection.execute(text)
            await connection.close()

        for _ in range(3):
            with new_database(pytestconfig) as dsn:
                await asyncio.gather(
                    *(theirs(dsn) for _ in range(4)), *(migrations.up(dsn) for _ in range(2))
                )
                await assert_is_at(dsn, "public", 5)


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
        self, whole: str, link: Link, capsys: pytest.CaptureFixture[str], gone: str
    ) -> None:
        await link.execute(gone)
        with pytest.raises(MigrationError, match="primary key"):
            await start(whole)
        code, out = await command(capsys, "status", "--dsn", whole)
        assert code == 1
        assert "amiss: the table" in out

    async def test_another_unique_index_on_the_id_will_do_to_start(
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

    async def test_ids_that_stand_twice_are_the_users_to_choose_from(
        self, whole: str, link: Link
    ) -> None:
        await link.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey")
        await link.execute(f"{ROW}; {ROW}")
        for _ in range(2):
            with pytest.raises(MigrationError, match="some ids stand in it twice"):
                await migrations.up(whole)
            assert await link.fetchval(f"SELECT count(*) FROM {TABLE}") == 2
            assert not await link.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        await link.execute(f"DELETE FROM {TABLE} WHERE ctid = (SELECT min(ctid) FROM {TABLE})")
        await migrations.up(whole)
        await assert_is_at(whole, "public", 5)

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
        ),
    )
    async def test_a_wrong_type_is_said_and_not_changed(
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
        await assert_is_at(whole, "public", 5)
        assert (await migrations.status(whole)).differences == ()

    @pytest.mark.parametrize("column", ("id", "workflow", "status", "state", "inserted_at"))
    async def test_a_column_that_nothing_brings_back_is_named(
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

    async def test_a_missing_trigger_is_a_warning_of_the_start(
        self, whole: str, link: Link, caplog: pytest.LogCaptureFixture
    ) -> None:
        await link.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        async with start(whole):
            pass
        assert "makes every writer raise revision; run: python -m" in caplog.text

    async def test_a_partial_restore_is_mended_whole(self, whole: str, link: Link) -> None:
        """Tables and rows, without what comes after the data in a dump."""
        before = await snapshot(whole, "public")
        await link.execute(ROW)
        await link.execute(f"DROP TRIGGER hephaestus_pg_raise_revision ON {TABLE}")
        await link.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey")
        await link.execute("ALTER TABLE hephaestus_pg_migrations DROP CONSTRAINT IF EXISTS x")
        await migrations.up(whole)
        assert await snapshot(whole, "public") == before


class TestWhatIsNoTable:
    @pytest.mark.parametrize(
        "made",
        (
            f"CREATE VIEW {TABLE} AS SELECT * FROM other",
            f"CREATE MATERIALIZED VIEW {TABLE} AS SELECT * FROM other",
            f"CREATE SEQUENCE {TABLE}",
            f"CREATE TYPE {TABLE} AS (id text)",
            (
                "CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;"
                f" CREATE FOREIGN TABLE {TABLE} (id text) SERVER s"
            ),
        ),
    )
    async def test_it_is_refused_and_left_alone(self, database: str, link: Link, made: str) -> None:
        await migrations.up(database, version=3)
        await link.execute(f"ALTER TABLE {TABLE} RENAME TO other")
        await link.execute("DROP TABLE hephaestus_pg_migrations")
        try:
            await link.execute(made)
        except asyncpg.PostgresError as error:
            pytest.skip(f"this server cannot: {error}")
        before = await snapshot(database, "public")
        with pytest.raises(UnrecognizedSchemaError, match="not a table"):
            await migrations.up(database)
        with pytest.raises(UnrecognizedSchemaError, match="not a table"):
            await start(database)
        assert await snapshot(database, "public") == before

    async def test_a_view_in_place_of_a_table_that_was_migrated_is_used_as_it_is(
        self, whole: str, link: Link
    ) -> None:
        await link.execute("ALTER TABLE workflow_instances RENAME TO rows")
        await link.execute("CREATE VIEW workflow_instances AS SELECT * FROM rows")
        await link.execute(f"ALTER VIEW {TABLE} ALTER COLUMN revision SET DEFAULT 1")
        async with start(whole) as storage:
            await storage.put(Instance("x", "W"))
            assert await storage.get("x")


class TestALiveStorage:
    """Whoever takes a table or a column away under it: the error says the command."""

    VERBS: tuple[Callable[[Any], Awaitable[Any]], ...] = (
        lambda verbs: verbs.get("x"),
        lambda verbs: verbs.put(Instance("x", "W")),
        lambda verbs: verbs.insert(Instance("y", "W")),
        lambda verbs: verbs.update(Instance("x", "W", revision=1)),
        lambda verbs: verbs.delete("x", revision=1),
        lambda verbs: verbs.put_many([Instance("x", "W")]),
        lambda verbs: verbs.get_many(["x"]),
        lambda verbs: verbs.query(status="running"),
        lambda verbs: verbs.query(order_by="id", limit=3),
    )

    @pytest.mark.parametrize("version", (0, 1, 3))
    @pytest.mark.parametrize("batching", (True, False))
    async def test_every_verb_says_what_to_run(
        self, whole: str, version: int, *, batching: bool
    ) -> None:
        async with AsyncStorage.start(whole, references=Names(), batching=batching) as storage:
            for verb in self.VERBS:  # so that plans of before are cached
                with suppress(InstanceError):
                    await verb(storage)
            await migrations.down(whole, version=version, allow_row_loss=True)
            for verb in self.VERBS:
                with pytest.raises(SchemaOutdatedError, match=r"up --schema public") as caught:
                    await verb(storage)
                assert caught.value.missing
            many = [storage.put(Instance(f"x::{number}", "W")) for number in range(20)]
            errors = await asyncio.gather(*many, return_exceptions=True)
            assert {type(error) for error in errors} == {SchemaOutdatedError}
            for verb in self.VERBS:
                with pytest.raises(SchemaOutdatedError):
                    async with storage.transaction() as transaction:
                        await verb(transaction)

            await migrations.up(whole)
            for verb in self.VERBS:
                with suppress(InstanceError):
                    await verb(storage)

    async def test_a_statement_of_the_users_own_is_not_ours(self, whole: str, link: Link) -> None:
        async with start(whole) as storage:
            with pytest.raises(asyncpg.UndefinedTableError):
                async with storage.transaction() as transaction:
                    await transaction.connection.execute("SELECT * FROM nothing")
            await link.execute(
                "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO audit_log VALUES (NEW.id); RETURN NEW; END'"
            )
            await link.execute(
                f"CREATE TRIGGER audit BEFORE INSERT ON {TABLE}"
                " FOR EACH ROW EXECUTE FUNCTION audit()"
            )
            with pytest.raises(RejectedError, match="audit_log"):
                await storage.put(Instance("x", "W"))


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


class TestNamesThatDoNotExist:
    async def test_status_and_prune_say_so_and_offer_nothing(
        self, whole: str, link: Link, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out = await command(capsys, "status", "--dsn", whole, "--schema", "typo")
        assert (code, out) == (1, "there is no schema typo; look at --schema and --dsn\n")
        await link.execute("CREATE SCHEMA empty")
        code, out = await command(capsys, "status", "--dsn", whole, "--schema", "empty")
        assert code == 1
        assert "there is no table workflow_instances in it" in out
        for schema in ("typo", "empty"):
            arguments = ["--dsn", whole, "--schema", schema, "--finished-before", "1d", "--yes"]
            code = await asyncio.to_thread(prune.main, arguments)
            err = capsys.readouterr().err
            assert code == 2
            assert f"there is no table workflow_instances in schema '{schema}'" in err
            assert "migrate up" not in err
        code, out = await command(
            capsys, "down", "--dsn", whole, "--schema", "typo", "--version", "0"
        )
        assert "there is no schema typo" in out
        assert await link.fetchval("SELECT to_regnamespace('typo')") is None


async def test_a_role_that_may_not_create_is_told(database: str, link: Link) -> None:
    await link.execute("CREATE SCHEMA theirs")
    await link.execute("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA theirs TO reader")
    try:
        await link.execute("SET ROLE reader")
        with pytest.raises(DatabaseError, match="permission denied for schema theirs"):
            await migrations.up(connection=link, schema="theirs")
    finally:
        await link.execute("RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")


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
        await assert_is_at(database, schema, 5)
    assert await snapshot(database, "one") == await snapshot(database, "two")
    assert await link.fetchval("SELECT count(*) FROM ddl")
