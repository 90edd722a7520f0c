"""Databases that HephaestusEcto made are taken over as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import InvalidValueError, UnrecognizedSchemaError
from tests.support.catalog import assert_is_at
from tests.support.ecto import ORIGINAL, original

if TYPE_CHECKING:
    from tests.support.migrated import Link

ROWS = """
    SELECT id::text, workflow, status, state::text, inserted_at, updated_at
    FROM workflow_instances ORDER BY id
"""
COMMENT = "SELECT obj_description('workflow_instances'::regclass, 'pg_class')"


@pytest.mark.parametrize("online", (False, True))
@pytest.mark.parametrize("commented", (True, False))
@pytest.mark.parametrize("version", ORIGINAL)
async def test_a_database_of_ectos_is_taken_over_with_its_rows(
    link: Link, database: str, version: int, *, commented: bool, online: bool
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


async def test_rows_are_not_rewritten_by_a_take_over(link: Link, database: str) -> None:
    await original(link, 3, "3")
    before = await link.fetch("SELECT ctid, xmin::text, id FROM workflow_instances")
    await migrations.up(database)
    assert await link.fetch("SELECT ctid, xmin::text, id FROM workflow_instances") == before


@pytest.mark.parametrize("comment", ("the orders of the shop", "v3", "3.0", "-1", "²", "9" * 20))
async def test_a_comment_of_a_users_own_is_respected(
    link: Link, database: str, comment: str
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


async def test_a_version_assumed_too_low_costs_nothing(link: Link, database: str) -> None:
    await original(link, 3, "ours")
    rows = await link.fetch(ROWS)
    await migrations.up(database, assume_version=0)
    assert await link.fetch(ROWS) == rows
    await assert_is_at(database, "public", migrations.LATEST)


async def test_a_version_assumed_too_high_is_refused(link: Link, database: str) -> None:
    await original(link, 1, "ours")
    with pytest.raises(InvalidValueError, match="has the columns of version 1"):
        await migrations.up(database, assume_version=3)
    assert not await link.fetchval("SELECT to_regclass('hephaestus_pg_migrations')")


@pytest.mark.parametrize("comment", ("4", "0"))
async def test_an_unknown_version_in_the_comment_is_refused(
    link: Link, database: str, comment: str
) -> None:
    await original(link, 3, comment)
    with pytest.raises(UnrecognizedSchemaError, match="use a newer hephaestus_pg") as caught:
        await migrations.up(database)
    assert caught.value.comment == comment


async def test_a_comment_counts_only_as_far_as_the_columns_bear_it_out(
    link: Link, database: str
) -> None:
    await original(link, 2, "3")
    assert await migrations.migrated_version(database) == 2
    await migrations.up(database)
    await assert_is_at(database, "public", migrations.LATEST)


async def test_an_unrelated_table_of_the_same_name_is_refused(link: Link, database: str) -> None:
    await link.execute("CREATE TABLE workflow_instances (id integer, state text)")
    with pytest.raises(UnrecognizedSchemaError, match="not one of HephaestusEcto's"):
        await migrations.up(database)
    with pytest.raises(UnrecognizedSchemaError):
        await migrations.down(database, version=0, allow_row_loss=True)
    assert await link.fetchval("SELECT to_regclass('workflow_instances')")


async def test_ecto_migrating_on_by_itself_does_no_harm(link: Link, database: str) -> None:
    await migrations.up(database, version=1)
    for version in (2, 3):
        await link.execute(ORIGINAL[version])
    await link.execute("COMMENT ON TABLE workflow_instances IS '3'")
    assert await migrations.migrated_version(database) == 1
    await migrations.up(database)
    await assert_is_at(database, "public", migrations.LATEST)
