"""What has to be done before a schema is distributed: the catalog of any server shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations import Distribution
from hephaestus_pg.migrations.obstacles import Cluster, obstacles, obstacles_back, read_cluster
from hephaestus_pg.migrations.state import read_state

if TYPE_CHECKING:
    from tests.support.migrated import Link

CLUSTER = Cluster("13.2-1", 2, "logical")
BY_ID, BY_SCHEMA = Distribution("id", 4), Distribution("schema", 1)


async def found(
    link: Link,
    schema: str,
    wanted: Distribution,
    *,
    online: bool = False,
    cluster: Cluster = CLUSTER,
    now: Distribution | None = None,
) -> list[str]:
    state = replace(await read_state(link, schema), distribution=now)
    return list(map(str, await obstacles(link, state, cluster, wanted, online=online)))


async def test_a_schema_as_it_was_made_has_none(link: Link, migrated: str) -> None:
    for wanted in (BY_ID, BY_SCHEMA):
        assert await found(link, migrated, wanted) == []
    assert await found(link, migrated, BY_ID, online=True) == []
    # What an interrupted run has left is gone on with.
    assert await found(link, migrated, BY_ID, now=Distribution("local", 1)) == []


async def test_a_server_that_is_no_cluster_is_refused(link: Link, migrated: str) -> None:
    with pytest.raises(MigrationError, match="no extension citus in the database 'test_.*; conn"):
        await read_cluster(link, await read_state(link, migrated))


NO_TRIGGER = "the trigger theirs on {}, and a distributed table has none; drop it"
INHERITS = "late from {0} inherits; end it by ALTER TABLE … NO INHERIT …"
IDENTITY = (
    "the identity column n of workflow_instances, with which Citus would not undistribute the "
    "table; run ALTER TABLE … ALTER COLUMN … DROP IDENTITY"
)
UNIQUE = (
    "the unique index {1}.orders has no id in it, so that no shard can hold it alone; drop it, or "
    "distribute by schema"
)
DEPENDS = "{} depends on a table, and Citus would drop it together with the old one; drop it, and "
DEPENDS += "make it again afterwards"
OTHER = "the table orders, which would be distributed too; move it to another schema"
COUNTS = "CREATE FUNCTION {1}.g() RETURNS bigint LANGUAGE sql"
CALLS = "FOR EACH ROW EXECUTE FUNCTION {1}.f()"


@pytest.mark.parametrize(
    ("statement", "by_id", "by_schema"),
    (
        (
            f"CREATE TRIGGER theirs AFTER UPDATE ON {{0}} {CALLS}",
            NO_TRIGGER.format("workflow_instances"),
            NO_TRIGGER.format("workflow_instances"),
        ),
        (
            f"CREATE TRIGGER theirs AFTER UPDATE ON {{1}}.workflow_runners {CALLS}",
            NO_TRIGGER.format("workflow_runners"),
            NO_TRIGGER.format("workflow_runners"),
        ),
        ("CREATE TEMPORARY TABLE late () INHERITS ({0})", INHERITS, INHERITS),
        ("ALTER TABLE {0} ADD n bigint GENERATED ALWAYS AS IDENTITY", IDENTITY, IDENTITY),
        (
            "CREATE RULE kept AS ON DELETE TO {0} DO ALSO SELECT 1",
            "the rule kept on workflow_instances, which Citus would lose; drop it",
            "the rule kept on workflow_instances, which Citus would lose; drop it",
        ),
        (
            "CREATE FUNCTION {1}.g({0}) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            DEPENDS.format("function {1}.g({0})"),
            DEPENDS.format("function {1}.g({0})"),
        ),
        (
            "CREATE FUNCTION {1}.g() RETURNS SETOF {0} LANGUAGE sql AS 'SELECT * FROM {0}'",
            DEPENDS.format("function {1}.g()"),
            DEPENDS.format("function {1}.g()"),
        ),
        (
            f"{COUNTS} BEGIN ATOMIC SELECT count(id) FROM {{0}}; END",
            DEPENDS.format("function {1}.g()"),
            DEPENDS.format("function {1}.g()"),
        ),
        (f"{COUNTS} AS 'SELECT count(*) FROM {{0}}'", "", ""),
        (
            "CREATE TEMPORARY TABLE copies (copy {0}[])",
            DEPENDS.format("column copy of table copies"),
            DEPENDS.format("column copy of table copies"),
        ),
        ("CREATE UNIQUE INDEX orders ON {0} ((state->>'order'))", UNIQUE, ""),
        ("CREATE UNIQUE INDEX orders ON {0} (workflow, id)", "", ""),
        ("CREATE INDEX orders ON {0} (workflow, due_at)", "", ""),
        ("CREATE TABLE {1}.orders (id bigint)", "", OTHER),
        ("CREATE VIEW {1}.orders AS SELECT id FROM {0}", "", ""),
        (
            "CREATE VIEW {1}.orders AS SELECT held FROM {0} AS held",
            DEPENDS.format("column held of view {1}.orders"),
            DEPENDS.format("column held of view {1}.orders"),
        ),
        ("CREATE TABLE {1}.workflow_instances_102008 (id bigint)", "", ""),
    ),
)
async def test_what_citus_would_refuse_is_found(
    link: Link, migrated: str, statement: str, by_id: str, by_schema: str
) -> None:
    table = f"{migrated}.workflow_instances"
    await link.execute(
        f"CREATE FUNCTION {migrated}.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
    )
    await link.execute(statement.format(table, migrated))
    for wanted, expected in ((BY_ID, by_id), (BY_SCHEMA, by_schema)):
        problems = "\n".join(await found(link, migrated, wanted))
        assert problems == expected.format(table, migrated)


async def test_a_foreign_key_is_found_and_by_id_on_the_way_back_too(
    link: Link, migrated: str
) -> None:
    table = f"CREATE TABLE {migrated}.orders (id varchar REFERENCES {migrated}.workflow_instances)"
    await link.execute(table)
    foreign = (
        f"the foreign key orders_id_fkey of {migrated}.orders, which would lead to another server; "
        "drop it"
    )
    assert await found(link, migrated, BY_ID) == [foreign]
    assert (await found(link, migrated, BY_SCHEMA))[0] == foreign
    state = await read_state(link, migrated)
    back = await obstacles_back(link, replace(state, distribution=BY_ID))
    assert list(map(str, back)) == [foreign]
    assert await obstacles_back(link, replace(state, distribution=BY_SCHEMA)) == []
    assert await obstacles_back(link, state) == []


async def test_rows_that_are_hidden_from_who_moves_are_found_on_both_ways(
    hidden: Link, migrated: str
) -> None:
    for wanted in (BY_ID, BY_SCHEMA):
        [obstacle] = await found(hidden, migrated, wanted)
        assert obstacle.startswith("row-level security hides rows of workflow_instances from this")
        state = replace(await read_state(hidden, migrated), distribution=wanted)
        assert list(map(str, await obstacles_back(hidden, state))) == [obstacle]
    await hidden.execute("RESET ROLE")
    assert await found(hidden, migrated, BY_ID) == []


async def test_an_unlogged_table_cannot_be_copied_while_writers_go_on(
    link: Link, migrated: str
) -> None:
    await link.execute(f"ALTER TABLE {migrated}.workflow_instances SET UNLOGGED")
    assert await found(link, migrated, BY_ID) == []
    [obstacle] = await found(link, migrated, BY_ID, online=True)
    assert obstacle.startswith("workflow_instances is unlogged, and cannot be copied while")


async def test_what_the_cluster_lacks_is_found(link: Link, migrated: str) -> None:
    old = Cluster("11.3-1", 0, "replica")
    version, workers, level = await found(link, migrated, BY_ID, online=True, cluster=old)
    assert version == "the cluster has Citus 11.3-1; 12 is needed"
    assert workers.startswith("the cluster has no worker nodes; run SELECT citus_add_node(")
    assert level.startswith("to go on meanwhile needs wal_level = logical, and it is replica; set")
    assert level.endswith("or stop writers: --no-online")
    assert len(await found(link, migrated, BY_ID, cluster=old)) == 2
    unknown = CLUSTER._replace(has_coordinator=0)
    [coordinator] = await found(link, migrated, BY_ID, cluster=unknown)
    assert coordinator.startswith("the nodes do not know the coordinator, where two of the tables")
    assert await found(link, migrated, BY_SCHEMA, cluster=unknown) == []


async def test_what_is_distributed_otherwise_goes_back_first(link: Link, migrated: str) -> None:
    for now, words in (
        (BY_SCHEMA, "by schema, in one shard"),
        (BY_ID, "by id, in 4 shards"),
        (Distribution("another column", 32), "by another column, in 32 shards"),
        (Distribution("reference", 1), "as a reference table, on every node"),
    ):
        [obstacle] = await found(link, migrated, Distribution("id", 7), now=now)
        assert obstacle == (
            f"it is distributed {words}; first run: python -m hephaestus_pg.migrate undistribute "
            f"--schema {migrated}"
        )


async def test_no_schema_public_is_distributed(whole: str, link: Link) -> None:
    [obstacle] = await found(link, "public", BY_SCHEMA)
    assert obstacle.startswith("Citus distributes no schema public; distribute it by id, or move")
    assert await found(link, "public", BY_ID) == []


async def test_what_is_wrong_with_the_schema_is_an_obstacle(link: Link, migrated: str) -> None:
    await link.execute(
        f"ALTER TABLE {migrated}.workflow_instances DROP CONSTRAINT workflow_instances_pkey"
    )
    [obstacle] = await found(link, migrated, BY_SCHEMA)
    assert obstacle.startswith("the table has no primary key; run: ")
