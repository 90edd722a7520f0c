"""Steps: down refuses to lose data and takes back all or nothing; up mends the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import AccessDeniedError, DataLossError, MigrationError, RejectedError
from tests.support.catalog import assert_is_at, snapshot
from tests.support.migrated import ROW, TABLE

if TYPE_CHECKING:
    from tests.support.migrated import Link

INSERT = """
    INSERT INTO {}.workflow_instances (id, workflow, inserted_at, updated_at)
    VALUES ($1, 'Elixir.Order', now(), now())
"""


class TestGuards:
    async def test_instances_are_not_dropped_unasked(
        self, link: Link, dsn: str, schema: str
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
        self, link: Link, dsn: str, schema: str
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

    async def test_when_instances_are_due_is_not_dropped_unasked(
        self, link: Link, dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        await link.execute(INSERT.format(schema), "order::1")
        due = f"UPDATE {schema}.workflow_instances SET due_at = now(), status = $1"
        await link.execute(due, "waiting")
        with pytest.raises(DataLossError, match="--allow-due-loss"):
            await migrations.down(dsn, schema=schema, version=5)
        await assert_is_at(dsn, schema, migrations.LATEST)
        await migrations.down(dsn, schema=schema, version=5, allow_due_loss=True)
        await assert_is_at(dsn, schema, 5)
        await migrations.up(dsn, schema=schema)
        await link.execute(due, "completed")
        await migrations.down(dsn, schema=schema, version=5)
        await assert_is_at(dsn, schema, 5)

    async def test_instances_of_version_1_are_no_reason_to_refuse(
        self, link: Link, dsn: str, schema: str
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
        self, link: Link, dsn: str, schema: str, id: str
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

    async def test_ids_that_are_all_uuids_become_uuid_again(
        self, link: Link, dsn: str, schema: str
    ) -> None:
        await migrations.up(dsn, schema=schema)
        uuid = "0191e0a4-5b0c-7d3e-8f00-000000000001"
        await link.execute(INSERT.format(schema), uuid)
        result = await migrations.down(dsn, schema=schema, version=2)
        assert result.steps[-1].notes == ()
        assert str(await link.fetchval(f"SELECT id FROM {schema}.workflow_instances")) == uuid


class TestNames:
    """Something else has a name that a migration gives."""

    @pytest.mark.parametrize(
        ("made", "taken"),
        (
            (
                "CREATE INDEX workflow_instances_runner_index ON {0}.other (token)",
                "workflow_instances_runner_index, by an index of {0}.other",
            ),
            (
                "CREATE VIEW {0}.workflow_instances_due_index AS SELECT 1 AS x",
                "workflow_instances_due_index, by view {0}.workflow_instances_due_index",
            ),
            (
                "CREATE TABLE {0}.workflow_runners (workflows text[], expires_at timestamptz)",
                "workflow_runners, by table {0}.workflow_runners",
            ),
            (
                "CREATE DOMAIN {0}.workflow_runners AS text",
                "workflow_runners, by type {0}.workflow_runners",
            ),
        ),
    )
    async def test_what_has_it_is_named_before_anything_is_made(
        self, link: Link, dsn: str, schema: str, made: str, taken: str
    ) -> None:
        await migrations.up(dsn, schema=schema, version=5)
        await link.execute(f"CREATE TABLE {schema}.other (token uuid)")
        await link.execute(made.format(schema))
        before = await snapshot(dsn, schema)
        for online in (True, False):
            for work in (migrations.plan, migrations.up):
                with pytest.raises(MigrationError) as caught:
                    await work(dsn, schema=schema, online=online)
                assert f"are taken: {taken.format(schema)}; rename" in str(caught.value)
        assert await snapshot(dsn, schema) == before

    async def test_the_indexes_of_a_table_that_was_renamed_are_left_to_it(
        self, link: Link, dsn: str, migrated: str
    ) -> None:
        await link.execute(f"ALTER TABLE {migrated}.{TABLE} RENAME TO old")
        with pytest.raises(MigrationError, match=r"_status_index, .* by an index of \S+\.old; ren"):
            await migrations.up(dsn, schema=migrated)
        names = "SELECT indexname FROM pg_indexes WHERE schemaname = $1 AND tablename = 'old'"
        for (name,) in await link.fetch(names, migrated):
            await link.execute(f"ALTER INDEX {migrated}.{name} RENAME TO old_{name}")
        await migrations.up(dsn, schema=migrated)
        await assert_is_at(dsn, migrated, migrations.LATEST)

    @pytest.mark.parametrize("profile", get_args(migrations.Profile))
    async def test_a_change_of_the_index_leaves_another_tables_alone(
        self, link: Link, dsn: str, migrated: str, profile: migrations.Profile
    ) -> None:
        await link.execute(f"DROP INDEX {migrated}.idx_workflow_instances_state")
        await link.execute(f"CREATE TABLE {migrated}.other (s text)")
        await link.execute(f"CREATE INDEX idx_workflow_instances_state ON {migrated}.other (s)")
        with pytest.raises(MigrationError, match="taken: idx_workflow_instances_state, by an"):
            await migrations.index(dsn, schema=migrated, profile=profile)
        [(options,)] = await link.fetch(
            "SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)",
            f"{migrated}.idx_workflow_instances_state",
        )
        assert options is None


class TestHiddenRows:
    """Row-level security hides rows from whoever migrates."""

    @pytest.mark.parametrize("version", (0, 1, 5))
    async def test_they_are_not_taken_for_none(
        self, hidden: Link, migrated: str, version: int
    ) -> None:
        assert await hidden.fetchval(f"SELECT count(*) FROM {migrated}.workflow_instances") == 0
        with pytest.raises(AccessDeniedError, match="NO FORCE ROW LEVEL SECURITY"):
            await migrations.down(connection=hidden, schema=migrated, version=version)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await hidden.execute(migrations.sql("down", schema=migrated, version=version))
        await hidden.execute("ROLLBACK; RESET ROLE")
        assert await hidden.fetchval(f"SELECT due_at FROM {migrated}.workflow_instances")

    async def test_what_reads_no_row_goes_on(self, hidden: Link, migrated: str) -> None:
        for profile in ("none", "initial", "full"):
            await migrations.index(connection=hidden, schema=migrated, profile=profile)
        role = await hidden.fetchval("SELECT current_user")
        await hidden.execute("RESET ROLE")
        await migrations.down(
            connection=hidden,
            schema=migrated,
            version=1,
            allow_version_loss=True,
            allow_due_loss=True,
        )
        await hidden.execute(f"SET ROLE {role}")
        result = await migrations.up(connection=hidden, schema=migrated, online=False)
        assert result.to_version == migrations.LATEST


class TestAllOrNothing:
    """Down takes back every step or none."""

    @pytest.mark.parametrize(
        ("made", "target"),
        (
            ("CREATE VIEW {0}.seen AS SELECT id FROM {0}.workflow_instances", 0),
            ("CREATE VIEW {0}.seen AS SELECT workflow_version FROM {0}.workflow_instances", 1),
            ("CREATE VIEW {0}.seen AS SELECT revision FROM {0}.workflow_instances", 3),
            ("CREATE VIEW {0}.seen AS SELECT due_at FROM {0}.workflow_instances", 5),
            ("CREATE VIEW {0}.seen AS SELECT name FROM {0}.workflow_runners", 4),
            ("CREATE VIEW {0}.seen AS SELECT id FROM {0}.workflow_instances", 2),
            (
                "CREATE TABLE {0}.orders (id varchar(255) REFERENCES {0}.workflow_instances (id))",
                0,
            ),
        ),
    )
    async def test_down_takes_nothing_back_if_a_later_step_is_refused(
        self, link: Link, dsn: str, migrated: str, made: str, target: int
    ) -> None:
        await link.execute(made.format(migrated))
        before = await snapshot(dsn, migrated)
        done: list[migrations.Step] = []
        with pytest.raises(RejectedError, match=r"\bseen\b|\borders_id_fkey\b"):
            await migrations.down(dsn, schema=migrated, version=target, progress=done.append)
        assert done == []
        assert await snapshot(dsn, migrated) == before
        assert await migrations.migrated_version(dsn, schema=migrated) == migrations.LATEST

    async def test_a_script_takes_nothing_back_either(
        self, link: Link, dsn: str, migrated: str
    ) -> None:
        await link.execute(INSERT.format(migrated), "order::1")
        before = await snapshot(dsn, migrated)
        for version in (0, 1):
            await link.execute(f"UPDATE {migrated}.workflow_instances SET workflow_version = 2")
            with pytest.raises(asyncpg.PostgresError, match="would lose"):
                await link.execute(migrations.sql("down", schema=migrated, version=version))
            await link.execute("ROLLBACK")
            assert await snapshot(dsn, migrated) == before

    async def test_allowing_row_loss_allows_the_loss_of_their_versions(
        self, link: Link, dsn: str, migrated: str
    ) -> None:
        await link.execute(INSERT.format(migrated), "order::1")
        await link.execute(f"UPDATE {migrated}.workflow_instances SET workflow_version = 2")
        await migrations.down(dsn, schema=migrated, version=0, allow_row_loss=True)
        await assert_is_at(dsn, migrated, 0)

    async def test_progress_is_called_with_each_committed_step(
        self, link: Link, dsn: str, schema: str
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


async def test_duplicate_ids_are_an_error_and_left_to_the_user(whole: str, link: Link) -> None:
    await link.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT workflow_instances_pkey")
    await link.execute(f"{ROW}; {ROW}")
    for _ in range(2):
        with pytest.raises(MigrationError, match="some ids stand in it twice"):
            await migrations.up(whole)
        assert await link.fetchval(f"SELECT count(*) FROM {TABLE}") == 2
        assert not await link.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    await link.execute(f"DELETE FROM {TABLE} WHERE ctid = (SELECT min(ctid) FROM {TABLE})")
    await migrations.up(whole)
    await assert_is_at(whole, "public", migrations.LATEST)
