"""Bringing a schema to a version, from Python: results are returned, nothing is printed.

::

    result = await migrations.up("postgresql://…", schema="tenant_a")
    result.from_version, result.to_version      # 0, 4
    [step.name for step in result.steps]        # ['create_workflow_instances', …]

Versions 1, 2, 3 are those of HephaestusEcto, and a database that it migrated is taken over where it
stands. What is applied is kept in ``hephaestus_pg_migrations``, a table in the same schema. The
comment in which HephaestusEcto keeps its version is read and never written.

Migrate over a connection to the server itself: the lock belongs to a session, which a pooler in
transaction mode does not have.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError
from hephaestus_pg.index_profiles import REWRITE_UP_TO, IndexResult, Profile, index
from hephaestus_pg.migration_files import checked_version, latest, shipped
from hephaestus_pg.migration_results import MigrationResult, MigrationStatus, SchemaStatus, Step
from hephaestus_pg.migration_scripts import script as sql
from hephaestus_pg.migration_session import MigrationSession, connected
from hephaestus_pg.migration_state import SchemaState, claimed_version, read_state

if TYPE_CHECKING:
    from hephaestus_pg.driver_errors import AnyConnection
    from hephaestus_pg.migration_files import Migration

__all__ = [
    "LATEST",
    "ONLINE_ABOVE",
    "REWRITE_UP_TO",
    "IndexResult",
    "MigrationResult",
    "MigrationStatus",
    "Profile",
    "SchemaStatus",
    "Step",
    "down",
    "index",
    "migrated_version",
    "sql",
    "status",
    "up",
]

LATEST: Final = latest()
"""The version that this package brings a schema to, and needs."""

ONLINE_ABOVE: Final = 64 * 2**20
"""The size of the table, in bytes, above which steps that have an online way take it unasked."""


async def up(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    version: int | None = None,
    online: bool | None = None,
    assume_version: int | None = None,
    wait: float = 300.0,
) -> MigrationResult:
    """Apply what is missing, up to and including ``version`` (default: the latest).

    Any number of processes may do this at once. Each version is a transaction, so what was applied
    before an error stays applied, and the next run goes on from there.

    Args:
        dsn: Where; by default ``HEPHAESTUS_PG_DSN``, else the ``PG*`` variables.
        connection: A connection of yours instead, outside a transaction.
        schema: The schema, made if it is not there.
        version: The last version to apply.
        online: Take the way that keeps readers and writers going, where a step has one: longer on
            the whole, and it waits for transactions that began before it. By default only if the
            table is larger than ``ONLINE_ABOVE``.
        assume_version: The version that a table of HephaestusEcto's is at, if it does not say so
            itself. Without meaning once versions are recorded.
        wait: Seconds to wait for a lock, in all its tries, before giving up.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        MigrationChangedError: A file is not the one that was applied.
        MigrationLockError: A lock was not to be had within ``wait`` seconds.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=LATEST, low=1)
    began = time.monotonic()
    async with (
        connected(dsn, connection, schema) as link,
        MigrationSession.opened(link, schema, wait=wait) as session,
    ):
        before = await read_state(link, schema, assume_version=assume_version)
        before.check_files()
        await _adopt(session, before)
        steps = [
            await _apply(session, migration, online=online)
            for migration in shipped()
            if migration.version <= target and migration.version not in before.versions
        ]
        after = await read_state(link, schema)
    return _result(before, after, steps, began)


async def down(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    version: int,
    allow_row_loss: bool = False,
    allow_version_loss: bool = False,
    assume_version: int | None = None,
    wait: float = 300.0,
) -> MigrationResult:
    """Take back what is above ``version``, which stands; 0 removes the table and our own.

    The schema itself stays. Taking back 3 turns ids into uuid again only if all of them are, else
    it leaves them and says so in the step's notes.

    Args:
        dsn: As for :func:`up`.
        connection: As for :func:`up`.
        schema: Which schema.
        version: The version that is left standing.
        allow_row_loss: Take back 1 though there are instances.
        allow_version_loss: Take back 2 though there are workflow versions other than 1.
        assume_version: As for :func:`up`.
        wait: As for :func:`up`.

    Raises:
        DataLossError: A step would lose data that no flag gives up. Steps before it are taken back.
        MigrationError: As for :func:`up`.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=None, low=0)
    allowed = {"row_loss": allow_row_loss, "version_loss": allow_version_loss}
    allow = [name for name, given in allowed.items() if given]
    began = time.monotonic()
    async with (
        connected(dsn, connection, schema) as link,
        MigrationSession.opened(link, schema, wait=wait) as session,
    ):
        before = await read_state(link, schema, assume_version=assume_version)
        before.check_files()
        if unknown := [version for version in before.versions if version > LATEST]:
            raise MigrationError(
                schema,
                f"schema {schema!r} is at version {max(unknown)}, which this release does not "
                "know; take it back with the one that applied it",
            )
        if before.version:
            await _adopt(session, before)
        steps = [
            await _take_back(session, migration, allow=allow)
            for migration in reversed(shipped())
            if migration.version > target and migration.version in before.versions
        ]
        if target == 0:
            await session.transaction(
                lambda: link.execute(_sql.statement("migrations_drop", schema))
            )
        after = await read_state(link, schema)
    return _result(before, after, steps, began)


async def migrated_version(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> int:
    """The version that ``schema`` is at, HephaestusEcto's counted too; 0 if there is nothing.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        DatabaseError: The server refused, or could not be reached.
    """
    async with connected(dsn, connection, schema) as link:
        return (await read_state(link, schema)).version


async def status(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> SchemaStatus:
    """Every migration, with whether and when it was applied, and the index over states.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        DatabaseError: The server refused, or could not be reached.
    """
    async with connected(dsn, connection, schema) as link:
        state = await read_state(link, schema)
        found: Any = await link.fetchrow(_sql.statement("profile", schema))
    known = {migration.version: migration.name for migration in shipped()}
    recorded = state.recorded or {}
    listed = []
    for number in sorted({*known, *state.versions}):
        row = recorded.get(number)
        listed.append(
            MigrationStatus(
                version=number,
                name=known.get(number) or recorded[number]["name"],
                state=(
                    "unknown"
                    if number not in known
                    else "changed"
                    if number in state.changed
                    else "applied"
                    if number in state.versions
                    else "pending"
                ),
                applied_at=row["applied_at"] if row else None,
            )
        )
    return SchemaStatus(
        schema=schema,
        version=state.version,
        migrations=tuple(listed),
        index=found["profile"] if state.version else None,
    )


async def _adopt(session: MigrationSession, state: SchemaState) -> None:
    """See that there is a version table, which knows what HephaestusEcto has migrated."""
    if state.recorded is not None:
        return

    async def work() -> None:
        await session.connection.execute(_sql.statement("migrations_create", session.schema))
        for migration in shipped():
            if migration.version in state.versions:
                await _record(session, migration)

    await session.transaction(work)


async def _record(session: MigrationSession, migration: Migration) -> None:
    await session.connection.execute(
        _sql.statement("migrations_record", session.schema),
        migration.version,
        migration.name,
        migration.checksum,
    )


async def _apply(session: MigrationSession, migration: Migration, *, online: bool | None) -> Step:
    began = time.monotonic()
    if online is None:
        size = await session.connection.fetchval(_sql.statement("migrations_size", session.schema))
        online = size > ONLINE_ABOVE
    text = migration.up
    if online := online and bool(migration.stages):
        await session.stages(migration.stages, of=f"migration {migration.version}")
        text = migration.online_up or migration.up
    notes = await session.run(text, then=lambda: _record(session, migration))
    return Step(
        migration.version, migration.name, time.monotonic() - began, online=online, notes=notes
    )


async def _take_back(session: MigrationSession, migration: Migration, *, allow: list[str]) -> Step:
    began = time.monotonic()

    async def forget() -> None:
        await session.connection.execute(
            _sql.statement("migrations_forget", session.schema), migration.version
        )

    notes = await session.run(migration.down, then=forget, allow=allow)
    return Step(migration.version, migration.name, time.monotonic() - began, notes=notes)


def _result(
    before: SchemaState, after: SchemaState, steps: list[Step], began: float
) -> MigrationResult:
    notes = []
    if after.version > LATEST:
        notes.append(f"version {after.version} is newer than this release, which knows {LATEST}")
    claimed = claimed_version(after.comment)
    if claimed is not None and claimed > after.version:
        notes.append(
            f"the table's comment still says {claimed}, by which HephaestusEcto tells the version; "
            "it is left to its side"
        )
    return MigrationResult(
        schema=before.schema,
        from_version=before.version,
        to_version=after.version,
        steps=tuple(steps),
        seconds=time.monotonic() - began,
        adopted=before.inherited or None,
        notes=tuple(notes),
    )
