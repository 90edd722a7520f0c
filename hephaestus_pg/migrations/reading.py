"""Reads the version of a schema, what differs from it, and what ``up`` would do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql
from hephaestus_pg.migrations.advice import absence_notes, schema_notes
from hephaestus_pg.migrations.citus import check_up, leftover_notes
from hephaestus_pg.migrations.connections import check_connection, connected
from hephaestus_pg.migrations.differences import check_encoding, differences
from hephaestus_pg.migrations.files import checked_version, shipped
from hephaestus_pg.migrations.planning import ONLINE_ABOVE, planned
from hephaestus_pg.migrations.results import MigrationPlan, MigrationStatus, SchemaStatus
from hephaestus_pg.migrations.state import SchemaState, read_state, row_count, table_size
from hephaestus_pg.migrations.steps import check_names
from hephaestus_pg.migrations.waits import Wait
from hephaestus_pg.values.arguments import checked_flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.driver.errors import AnyConnection


async def plan(  # noqa: PLR0913 - as up
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    version: int | None = None,
    online: bool | None = None,
    assume_version: int | None = None,
) -> MigrationPlan:
    """Returns what :func:`up` with these arguments would do, and changes nothing.

    Raises:
        InvalidValueError: As for :func:`up`.
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        MigrationError: ``up`` would not begin.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=_sql.latest_version(), low=1)
    if online is not None:
        checked_flag("online", online)
    async with _reading(dsn, connection, schema) as opened:
        await check_connection(opened, schema)
        state = await read_state(opened, schema, assume_version=assume_version)
        state.check_files()
        check_encoding(state)
        check_up(state, target)
        if state.pending(target):
            await check_names(opened, state)
        size = await table_size(opened, state)
        rows = await row_count(opened, state)
    by_stages = size > ONLINE_ABOVE if online is None else online
    return MigrationPlan(
        schema=state.schema,
        from_version=state.version,
        steps=tuple(
            planned(migration, rows=rows, online=by_stages) for migration in state.pending(target)
        ),
        rows=rows,
        bytes=size,
        notes=absence_notes(state),
    )


async def migrated_version(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> int:
    """Returns the version that ``schema`` is at, HephaestusEcto's counted too; 0 without a table.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        DatabaseError: The server refused, or could not be reached.
    """
    async with connected(dsn, connection, schema) as opened:
        return (await read_state(opened, schema)).version


async def status(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> SchemaStatus:
    """Lists every migration, with its state and when it was applied, and what differs from it.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        DatabaseError: The server refused, or could not be reached.
    """
    async with _reading(dsn, connection, schema) as opened:
        state = await read_state(opened, schema)
        found: Any = await opened.fetchrow(_sql.statement("index_profile", schema))
        leftovers = await leftover_notes(opened, state)
    return SchemaStatus(
        schema=state.schema,
        version=state.version,
        migrations=_listed(state),
        index=found["profile"] if state.version else None,
        distribution=state.distribution,
        differences=differences(state),
        notes=absence_notes(state) + schema_notes(state) + leftovers,
        exists=state.found["schema_present"],
    )


@asynccontextmanager
async def _reading(
    dsn: str | None, connection: AnyConnection | None, schema: str
) -> AsyncIterator[AnyConnection]:
    """Gives a connection; whoever lets nobody read a table for long is named in the log."""
    async with (
        connected(dsn, connection, schema) as opened,
        Wait(opened, schema, seconds=0).watched(),
    ):
        yield opened


def _listed(state: SchemaState) -> tuple[MigrationStatus, ...]:
    known = {migration.version: migration.name for migration in shipped()}
    recorded = state.recorded or {}
    return tuple(
        MigrationStatus(
            version=version,
            name=known.get(version) or recorded[version]["name"],
            state=(
                "unknown"
                if version not in known
                else "changed"
                if version in state.changed
                else "missing"
                if version in state.missing
                else "applied"
                if version in state.versions
                else "pending"
            ),
            applied_at=recorded[version]["applied_at"] if version in recorded else None,
        )
        for version in sorted({*known, *state.versions})
    )
