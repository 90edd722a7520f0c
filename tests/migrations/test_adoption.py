from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import InvalidValueError, UnrecognizedSchemaError
from tests.support.catalog import assert_is_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# As HephaestusEcto's migrations write it, by version.
ORIGINAL = {
    1: """
        CREATE TABLE workflow_instances (
            id uuid, workflow varchar(255) NOT NULL,
            status varchar(255) NOT NULL DEFAULT 'pending', state jsonb NOT NULL DEFAULT '{}',
            inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL, PRIMARY KEY (id)
        );
        CREATE INDEX workflow_instances_status_index ON workflow_instances (status);
        CREATE INDEX workflow_instances_workflow_index ON workflow_instances (workflow);
        CREATE INDEX idx_workflow_instances_state ON workflow_instances
            USING gin (state jsonb_path_ops);
        INSERT INTO workflow_instances VALUES
            ('0191e0a4-5b0c-7d3e-8f00-000000000001', 'Elixir.Order', 'waiting',
            '{"current_step": "Elixir.Pay"}', '2024-02-29 12:00:00', '2024-03-01 00:00:00');
        """,
    2: """
        ALTER TABLE workflow_instances ADD COLUMN workflow_version integer NOT NULL DEFAULT 1;
        CREATE INDEX workflow_instances_workflow_workflow_version_index
            ON workflow_instances (workflow, workflow_version);
        UPDATE workflow_instances SET workflow_version = 2;
        """,
    3: """
        ALTER TABLE workflow_instances ALTER COLUMN id TYPE varchar(255) USING id::text;
        INSERT INTO workflow_instances VALUES
            ('order::1', 'Elixir.Order', 'running', '{}', '2024-02-29', '2024-03-01', 3);
        """,
}
ROWS = """
    SELECT id::text, workflow, status, state::text, inserted_at, updated_at
    FROM workflow_instances ORDER BY id
"""
COMMENT = "SELECT obj_description('workflow_instances'::regclass, 'pg_class')"


@pytest.fixture
async def link(database: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database, statement_cache_size=0)
    yield connection
    await connection.close()


async def original(link: asyncpg.Connection[Any], version: int, comment: str | None) -> None:
    for each in range(1, version + 1):
        await link.execute(ORIGINAL[each])
    if comment is not None:
        await link.execute(f"COMMENT ON TABLE workflow_instances IS '{comment}'")


@pytest.mark.parametrize("online", (False, True))
@pytest.mark.parametrize("commented", (True, False))
@pytest.mark.parametrize("version", ORIGINAL)
async def test_a_database_of_the_original_is_taken_over_with_its_rows(
    link: asyncpg.Connection[Any], database: str, version: int, *, commented: bool, online: bool
) -> None:
    await original(link, version, str(version) if commented else None)
    rows = await link.fetch(ROWS)
    assert await migrations.migrated_version(database) == version
    status = await migrations.status(database)
    assert [each.state for each in status.migrations] == ["applied"] * version + ["pending"] * (
        migrations.LATEST - version
    )
    assert not any(each.applied_at for each in status.migrations)

    result = await migrations.up(database, online=online)

    assert (result.adopted, result.from_version) == (version, version)
    assert [step.version for step in result.steps] == list(
        range(version + 1, migrations.LATEST + 1)
    )
    assert await link.fetch(ROWS) == rows
    assert await link.fetchval(COMMENT) == (str(version) if commented else None)
    await assert_is_at(database, "public", migrations.LATEST)
    status = await migrations.status(database)
    assert all(each.applied_at for each in status.migrations)


async def test_rows_are_not_rewritten_by_a_take_over(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await original(link, 3, "3")
    before = await link.fetch("SELECT ctid, xmin::text, id FROM workflow_instances")
    await migrations.up(database)
    assert await link.fetch("SELECT ctid, xmin::text, id FROM workflow_instances") == before


@pytest.mark.parametrize("comment", ("the orders of the shop", "v3", "3.0", "-1", "²", "9" * 20))
async def test_a_comment_of_a_users_own_is_respected(
    link: asyncpg.Connection[Any], database: str, comment: str
) -> None:
    await original(link, 3, comment)
    for call in (migrations.up, migrations.status, migrations.migrated_version):
        with pytest.raises(UnrecognizedSchemaError, match="run again with --assume-version 3"):
            await call(database)
    assert not await link.fetchval("SELECT to_regclass('hephaestus_pg_migrations')")

    result = await migrations.up(database, assume_version=3)

    assert (result.adopted, result.to_version) == (3, migrations.LATEST)
    assert await link.fetchval(COMMENT) == comment
    # From now on the version table says it; to say it again does no harm.
    assert await migrations.migrated_version(database) == migrations.LATEST
    assert (await migrations.up(database, assume_version=3)).steps == ()


async def test_a_version_assumed_too_low_costs_nothing(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await original(link, 3, "ours")
    rows = await link.fetch(ROWS)
    await migrations.up(database, assume_version=0)
    assert await link.fetch(ROWS) == rows
    await assert_is_at(database, "public", migrations.LATEST)


async def test_a_version_assumed_too_high_is_refused(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await original(link, 1, "ours")
    with pytest.raises(InvalidValueError, match="has the columns of version 1"):
        await migrations.up(database, assume_version=3)
    assert not await link.fetchval("SELECT to_regclass('hephaestus_pg_migrations')")


@pytest.mark.parametrize("comment", ("4", "0"))
async def test_a_version_of_the_originals_that_we_do_not_know_is_not_guessed(
    link: asyncpg.Connection[Any], database: str, comment: str
) -> None:
    await original(link, 3, comment)
    with pytest.raises(UnrecognizedSchemaError, match="use a newer hephaestus_pg") as caught:
        await migrations.up(database)
    assert caught.value.comment == comment


async def test_a_comment_counts_only_as_far_as_the_columns_bear_it_out(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await original(link, 2, "3")
    assert await migrations.migrated_version(database) == 2
    await migrations.up(database)
    await assert_is_at(database, "public", migrations.LATEST)


async def test_a_foreign_table_of_the_same_name_is_left_alone(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await link.execute("CREATE TABLE workflow_instances (id integer, state text)")
    with pytest.raises(UnrecognizedSchemaError, match="not one of HephaestusEcto's"):
        await migrations.up(database)
    with pytest.raises(UnrecognizedSchemaError):
        await migrations.down(database, version=0, allow_row_loss=True)
    assert await link.fetchval("SELECT to_regclass('workflow_instances')")


async def test_down_takes_over_first_and_tells_what_the_comment_still_says(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await original(link, 2, "2")
    result = await migrations.down(database, version=1, allow_version_loss=True)
    assert (result.adopted, result.from_version, result.to_version) == (2, 2, 1)
    assert "still says 2" in result.notes[0]
    mend = result.notes[0][result.notes[0].index("COMMENT ON") :]
    assert mend == "COMMENT ON TABLE public.workflow_instances IS '1'"
    assert await link.fetchval(COMMENT) == "2"
    assert await migrations.migrated_version(database) == 1


async def test_the_original_going_on_by_itself_does_no_harm(
    link: asyncpg.Connection[Any], database: str
) -> None:
    await migrations.up(database, version=1)
    for version in (2, 3):
        await link.execute(ORIGINAL[version])
    await link.execute("COMMENT ON TABLE workflow_instances IS '3'")
    assert await migrations.migrated_version(database) == 1
    await migrations.up(database)
    await assert_is_at(database, "public", migrations.LATEST)
