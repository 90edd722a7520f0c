"""The state of a schema after others than our migrations have changed it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, migrations, prune
from hephaestus_pg.errors import (
    InstanceError,
    RejectedError,
    SchemaOutdatedError,
    UnrecognizedSchemaError,
)
from hephaestus_pg.migrations.state import OUR_COLUMNS, read_state
from tests.support.catalog import assert_is_at, snapshot, until_waiting
from tests.support.databases import new_database
from tests.support.ecto import ORIGINAL, ORIGINAL_DOWN
from tests.support.migrated import ROW, TABLE, UUID, command, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.migrated import Link


async def test_every_column_of_ours_is_read_and_no_other(whole: str, link: Link) -> None:
    await link.execute(f"ALTER TABLE {TABLE} ADD COLUMN note text")

    assert sorted((await read_state(link, "public")).columns) == OUR_COLUMNS


class TestAfterEctosDown:
    @pytest.mark.parametrize("target", (0, 1, 2))
    @pytest.mark.parametrize("again", (True, False), ids=("its up too", "only down"))
    async def test_status_reports_it_and_up_mends_it(
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

        assert await migrations.migrated_version(whole) == (
            migrations.LATEST if left == 3 else left
        )
        if left < 3:
            code, out = await command(capsys, "status", "--dsn", whole)
            assert code == 1
            assert f"schema public is at version {left}, latest is {migrations.LATEST}" in out
            assert "(what it made is gone)" in out
            assert "run: python -m hephaestus_pg.migrate up --schema public" in out
            with pytest.raises(SchemaOutdatedError) as caught:
                await start(whole)
            assert (caught.value.found, caught.value.needed) == (left, migrations.LATEST)

        result = await migrations.up(whole)

        before_up = migrations.LATEST if left == 3 else left
        assert (result.from_version, result.to_version) == (before_up, migrations.LATEST)
        await assert_is_at(whole, "public", migrations.LATEST)
        assert (await migrations.status(whole)).differences == ()
        async with start(whole) as storage:
            assert (await storage.get(UUID) is not None) is bool(target)
            await storage.put(Instance("x", "W"))
        await link.execute("DELETE FROM workflow_instances")
        await link.execute(f"COMMENT ON TABLE {TABLE} IS NULL")
        assert await snapshot(whole, "public") == before

    @pytest.mark.parametrize("version", ORIGINAL)
    async def test_up_while_ectos_up_commits(self, database: str, link: Link, version: int) -> None:
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
        assert (await ours).to_version == migrations.LATEST
        await assert_is_at(database, "public", migrations.LATEST)
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
                await assert_is_at(dsn, "public", migrations.LATEST)


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
    async def test_it_is_refused_and_left_unchanged(
        self, database: str, link: Link, made: str
    ) -> None:
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
    """If a table or a column is taken away under it, the error says the command."""

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

    async def test_a_missing_table_of_the_users_own_is_not_explained_as_ours(
        self, whole: str, link: Link
    ) -> None:
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


class TestNamesThatDoNotExist:
    async def test_status_and_prune_say_so_and_make_nothing(
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
