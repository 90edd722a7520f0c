"""What is refused anywhere; tests/system/test_citus_migrations.py has a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import InvalidTypeError, InvalidValueError, MigrationError, migrations
from hephaestus_pg.errors import UnrecognizedSchemaError
from tests.support.catalog import assert_is_at

if TYPE_CHECKING:
    from tests.support.migrated import Link

pytestmark = pytest.mark.quick


async def test_a_server_without_citus_is_refused_and_left_as_it_was(
    dsn: str, migrated: str
) -> None:
    for refused in (
        migrations.distribute(dsn, schema=migrated, by="schema"),
        migrations.distribute(dsn, schema=migrated, by="id", online=True),
        migrations.undistribute(dsn, schema=migrated),
        migrations.plan_distribute(dsn, schema=migrated, by="id"),
        migrations.plan_undistribute(dsn, schema=migrated),
    ):
        with pytest.raises(MigrationError, match="no extension citus .*; connect to the coordina"):
            await refused
    await assert_is_at(dsn, migrated, migrations.LATEST)
    assert (await migrations.status(dsn, schema=migrated)).distribution is None


async def test_a_table_of_somebody_else_is_refused(link: Link, dsn: str, schema: str) -> None:
    await link.execute(f"CREATE TABLE {schema}.workflow_instances (n integer)")
    with pytest.raises(UnrecognizedSchemaError):
        await migrations.distribute(dsn, schema=schema, by="schema")


@pytest.mark.parametrize(
    ("wanted", "message"),
    (
        ({"by": "tenant"}, "^by is 'tenant': give one of schema, id"),
        ({"by": "schema", "shards": 4}, "^shards is 4: leave it out"),
        ({"by": "schema", "online": False}, "^online is False: leave it out"),
        ({"by": "id", "shards": 0}, "^shards is 0: give a number from 1 to 64000"),
        ({"by": "id", "shards": 64_001}, "^shards is 64001: give a number from 1 to 64000"),
        ({"by": "id", "shards": "4"}, "^shards is '4': give a whole number"),
        ({"by": "id", "shards": True}, "^shards is True: give a whole number"),
        ({"by": "id", "schema": "Tenant"}, "^schema is 'Tenant'"),
    ),
)
async def test_arguments_that_make_no_sense_are_refused(
    dsn: str, migrated: str, wanted: dict[str, Any], message: str
) -> None:
    kind = InvalidTypeError if "whole number" in message else InvalidValueError
    for work in (migrations.distribute, migrations.plan_distribute):
        with pytest.raises(kind, match=message):
            await work(dsn, **{"schema": migrated} | wanted)
