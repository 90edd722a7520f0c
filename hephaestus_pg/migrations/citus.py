"""The differences that it makes to migrations that Citus has distributed the table.

A schema that is distributed can be migrated as any other, but for what is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations.advice import undistribute_first
from hephaestus_pg.migrations.files import stages_in
from hephaestus_pg.migrations.stages import run_stages
from hephaestus_pg.migrations.state import WIDE_IDS

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.results import Profile
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState


def check_up(state: SchemaState, target: int) -> None:
    """Refuses to change the type of ids where they say in which shard a row is.

    Raises:
        MigrationError: The run would.
    """
    if any(migration.version == WIDE_IDS for migration in state.pending(target)):
        _check_ids_may_change(state, "migration 3 changes the type of ids")


def check_down(state: SchemaState, target: int) -> None:
    """As :func:`check_up`, on the way down."""
    if target < WIDE_IDS <= max(state.versions, default=0):
        _check_ids_may_change(state, "below version 3 ids have another type")


def _check_ids_may_change(state: SchemaState, why: str) -> None:
    if state.distribution is not None and state.distribution.by == "id":
        raise MigrationError(
            state.schema,
            f"schema {state.schema!r} is distributed by id, and {why}; "
            f"{undistribute_first(state.schema)}",
        )


def check_index(state: SchemaState, profile: Profile) -> None:
    """Refuses the profile whose column cannot be added to a distributed table.

    Raises:
        MigrationError: It is that one.
    """
    if profile == "initial" and state.is_distributed:
        raise MigrationError(
            state.schema,
            f"schema {state.schema!r} is distributed, and Citus cannot add the column of the "
            f"profile initial then; {undistribute_first(state.schema)}",
        )


async def add_local_tables(session: MigrationSession) -> None:
    """Makes known to worker nodes what stays on the coordinator of a table distributed by id."""
    await run_stages(session, stages_in("distribution", "local_tables"), of="local tables")


async def leftover_notes(connection: AnyConnection, state: SchemaState) -> tuple[str, ...]:
    """Says how many shards Citus has still to drop, after a move that ended or was interrupted."""
    if not state.found["may_be_distributed"]:
        return ()
    text = _sql.statement("migrations_leftovers", state.schema)
    if not (count := await connection.fetchval(text, state.schema)):
        return ()
    note = (
        f"Citus has still to drop {count} of the shards of a move, and does so within a minute; at "
        "once by: CALL citus_cleanup_orphaned_resources()"
    )
    return (note,)
