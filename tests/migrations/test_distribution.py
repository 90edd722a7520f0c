"""What is refused anywhere; tests/system/test_citus_migrations.py has a cluster."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import InvalidTypeError, InvalidValueError, MigrationError, migrations
from hephaestus_pg.errors import RewriteRefusedError, UnrecognizedSchemaError
from hephaestus_pg.migrations import REWRITE_UP_TO, Difference, Distribution
from hephaestus_pg.migrations.distribution import check_move
from hephaestus_pg.migrations.planning import planned_move
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
        ({"by": "id", "online": "no"}, "^online is 'no': give True or False"),
        ({"by": "id", "schema": "Tenant"}, "^schema is 'Tenant'"),
    ),
)
async def test_arguments_that_make_no_sense_are_refused(
    dsn: str, migrated: str, wanted: dict[str, Any], message: str
) -> None:
    kind = InvalidValueError
    if "whole number" in message or "True or False" in message:
        kind = InvalidTypeError
    for work in (migrations.distribute, migrations.plan_distribute):
        with pytest.raises(kind, match=message):
            await work(dsn, **{"schema": migrated} | wanted)


async def test_a_large_table_is_not_moved_by_a_text_for_a_flag(dsn: str, migrated: str) -> None:
    given: dict[str, Any] = {"schema": migrated, "rewrite": "no"}
    for work in (partial(migrations.distribute, by="id"), migrations.undistribute):
        with pytest.raises(InvalidTypeError, match="^rewrite is 'no': give True or False"):
            await work(dsn, **given)


BY_ID, BY_SCHEMA = Distribution("id", 4), Distribution("schema", 1)


@pytest.mark.parametrize(("before", "after"), ((None, BY_SCHEMA), (None, BY_ID), (BY_ID, None)))
def test_what_stops_others_for_long_has_to_be_asked_for(
    before: Distribution | None, after: Distribution | None
) -> None:
    for size in (REWRITE_UP_TO, REWRITE_UP_TO + 1):
        plan = planned_move("tenant", before, after, rows=1, size=size, online=False)
        check_move(plan, rewrite=True)
        if size <= REWRITE_UP_TO:
            check_move(plan, rewrite=False)
        else:
            with pytest.raises(RewriteRefusedError, match="--rewrite allows it"):
                check_move(plan, rewrite=False)
    plan = planned_move("tenant", before, BY_ID, rows=1, size=REWRITE_UP_TO + 1, online=True)
    check_move(plan, rewrite=False)


def test_obstacles_are_named_all_at_once() -> None:
    found = (Difference("a trigger", "drop it"), Difference("a table", "move it"))
    for before, after, move in ((None, BY_ID, "distributed"), (BY_ID, None, "undistributed")):
        plan = planned_move("tenant", before, after, rows=1, size=1, online=False)
        message = f"^schema 'tenant' cannot be {move} yet: a trigger; drop it; a table; move it$"
        with pytest.raises(MigrationError, match=message):
            check_move(replace(plan, obstacles=found), rewrite=True)
