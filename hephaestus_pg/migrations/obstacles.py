"""The obstacles to distributing a schema over Citus, and to taking that back, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations.advice import undistribute_first
from hephaestus_pg.migrations.differences import differences
from hephaestus_pg.migrations.results import Difference

if TYPE_CHECKING:
    from collections.abc import Collection

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.results import Distribution
    from hephaestus_pg.migrations.state import SchemaState

FIRST_CITUS: Final = 12
"""The first Citus that can distribute a schema."""

_FOUND: Final = {
    "trigger": ("the trigger {}, and a distributed table has none", "drop it"),
    "foreign key": ("the foreign key {}, which would lead to another server", "drop it"),
    "rule": ("the rule {}, which Citus would lose", "drop it"),
    "dependent": (
        "{} depends on a table, and Citus would drop it together with the old one",
        "drop it, and make it again afterwards",
    ),
    "inheritance": ("{} inherits", "end it by ALTER TABLE … NO INHERIT …"),
    "identity": (
        "the identity column {}, with which Citus would not undistribute the table",
        "run ALTER TABLE … ALTER COLUMN … DROP IDENTITY",
    ),
    "row security": (
        "row-level security hides rows of {} from this role, and Citus would leave them behind",
        "move as a role with BYPASSRLS, or run ALTER TABLE … NO FORCE ROW LEVEL SECURITY before",
    ),
    "unlogged": ("{} is unlogged, and cannot be copied while writers go on", "SET LOGGED"),
    "unique index": (
        "the unique index {} has no id in it, so that no shard can hold it alone",
        "drop it, or distribute by schema",
    ),
    "table": ("the table {}, which would be distributed too", "move it to another schema"),
}


class Cluster(NamedTuple):
    """A Citus cluster, as far as a move depends on it."""

    version: str
    """That of Citus, such as 13.2-1."""
    workers: int
    """The nodes that may have shards."""
    wal_level: str
    has_coordinator: int = 1
    """1 if its nodes know the coordinator, where tables may then be local."""


async def read_cluster(connection: AnyConnection, state: SchemaState) -> Cluster:
    """Reads what the cluster can do.

    Raises:
        MigrationError: The server is none of a cluster's.
    """
    if not state.found["may_be_distributed"]:
        raise MigrationError(
            state.schema,
            f"there is no extension citus in the database {state.found['database']!r}; connect to "
            "the coordinator of a Citus cluster, or run CREATE EXTENSION citus on every node",
        )
    text = _sql.statement("migrations_cluster", state.schema)
    [found] = await fetch_rows(connection, text, ())
    return Cluster(*found)


async def obstacles(
    connection: AnyConnection,
    state: SchemaState,
    cluster: Cluster,
    wanted: Distribution,
    *,
    online: bool,
) -> list[Difference]:
    """Lists what has to be done before the schema can be distributed as ``wanted``."""
    found = list(_of_cluster(state, cluster, wanted, online=online))
    found += [difference for difference in differences(state) if difference.serious]
    kinds = _FOUND.keys() if online else _FOUND.keys() - {"unlogged"}
    return found + await _in_tables(connection, state, wanted.by, kinds)


async def obstacles_back(connection: AnyConnection, state: SchemaState) -> list[Difference]:
    """Lists what has to be done before the schema can be undistributed."""
    if state.distribution is None:
        return []
    by = state.distribution.by
    kinds = {"identity", "rule", "dependent", "row security"}
    if by != "schema":
        kinds.add("foreign key")
    return await _in_tables(connection, state, by, kinds)


async def _in_tables(
    connection: AnyConnection, state: SchemaState, by: str, kinds: Collection[str]
) -> list[Difference]:
    text = _sql.statement("migrations_obstacles", state.schema)
    found = []
    for row in await fetch_rows(connection, text, (by,)):
        if row["kind"] in kinds:
            what, mend = _FOUND[row["kind"]]
            found.append(Difference(what.format(row["name"]), mend))
    return found


def _of_cluster(
    state: SchemaState, cluster: Cluster, wanted: Distribution, *, online: bool
) -> list[Difference]:
    found = []
    if int(cluster.version.partition(".")[0]) < FIRST_CITUS:
        what = f"the cluster has Citus {cluster.version}"
        found.append(Difference(what, f"{FIRST_CITUS} is needed"))
    if not cluster.workers:
        what = "the cluster has no worker nodes"
        found.append(Difference(what, "run SELECT citus_add_node('host', 5432) for each"))
    if wanted.by == "id" and not cluster.has_coordinator:
        what = "the nodes do not know the coordinator, where two of the tables stay"
        found.append(Difference(what, "run SELECT citus_set_coordinator_host('host', 5432)"))
    if state.is_distributed:
        found.append(
            Difference(f"it is distributed {state.distribution}", undistribute_first(state.schema))
        )
    if wanted.by == "schema" and state.schema == "public":
        what = "Citus distributes no schema public"
        found.append(Difference(what, "distribute it by id, or move the tables to another schema"))
    if online and cluster.wal_level != "logical":
        what = f"to go on meanwhile needs wal_level = logical, and it is {cluster.wal_level}"
        found.append(Difference(what, "set it on every node, or stop writers: --no-online"))
    return found
