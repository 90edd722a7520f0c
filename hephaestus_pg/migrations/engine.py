"""The public functions: what a schema is at, and bringing it to a version."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations.files import checked_version, latest, shipped
from hephaestus_pg.migrations.results import MigrationResult, MigrationStatus, SchemaStatus, Step
from hephaestus_pg.migrations.scripts import allowed
from hephaestus_pg.migrations.session import MigrationSession, connected
from hephaestus_pg.migrations.state import SchemaState, claimed_version, read_state
from hephaestus_pg.migrations.steps import adopt, apply, mend, take_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus_pg.driver.errors import AnyConnection

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
    progress: Callable[[Step], object] | None = None,
) -> MigrationResult:
    """Apply what is missing, up to and including ``version`` (default: the latest).

    Any number of processes may do this at once. Each version is a transaction, so what was applied
    before an error stays applied, and the next run goes on from there. What was applied once and is
    gone since is applied again; the notes tell what this cannot mend.

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
        wait: Seconds to wait for a lock, in all its tries, before giving up. After two it is logged
            who is in the way.
        progress: Called with each step as soon as it is committed.

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
        before.check_encoding()
        await adopt(session, before)
        steps = []
        for migration in shipped():
            if migration.version <= target and (
                migration.version not in before.versions or migration.version in before.missing
            ):
                if (by_stages := online) is None:
                    size = await link.fetchval(_sql.statement("migrations_size", schema))
                    by_stages = size > ONLINE_ABOVE
                steps.append(await apply(session, migration, online=by_stages))
                if progress is not None:
                    progress(steps[-1])
        notes = await mend(session, await read_state(link, schema))
        after = await read_state(link, schema)
    notes += [f"still wrong: {difference}" for difference in after.differences]
    return _result(before, after, steps, began, notes)


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
    progress: Callable[[Step], object] | None = None,
) -> MigrationResult:
    """Take back what is above ``version``, which stands; 0 removes the table and our own.

    All of it is one transaction: where one step refuses, none is taken. The schema itself stays.
    Taking back 3 turns ids into uuid again only if all of them are, else it leaves them and says so
    in the step's notes. Revisions that were given out are not given again after another :func:`up`.

    Args:
        dsn: As for :func:`up`.
        connection: As for :func:`up`.
        schema: Which schema.
        version: The version that is left standing.
        allow_row_loss: Take back 1 though there are instances.
        allow_version_loss: Take back 2 though there are workflow versions other than 1.
        assume_version: As for :func:`up`.
        wait: As for :func:`up`.
        progress: As for :func:`up`.

    Raises:
        DataLossError: A step would lose data that no flag gives up. Nothing is taken back.
        MigrationError: As for :func:`up`.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=None, low=0)
    given = {"row_loss": allow_row_loss, "version_loss": allow_version_loss}
    allow = allowed(target, [name for name, is_given in given.items() if is_given])
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
        if before.versions:
            await adopt(session, before)
        steps = await take_back(session, before, target, allow)
        for step in steps:
            if progress is not None:
                progress(step)
        after = await read_state(link, schema)
    return _result(before, after, steps, began, () if steps else _absent(before))


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
    """Every migration, with whether and when it was applied, and what is not as they left it.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        DatabaseError: The server refused, or could not be reached.
    """
    async with connected(dsn, connection, schema) as link:
        state = await read_state(link, schema)
        found: Any = await link.fetchrow(_sql.statement("index_profile", schema))
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
                    else "missing"
                    if number in state.missing
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
        differences=state.differences,
        notes=_absent(state) + _notes(state),
        exists=state.found["schema_present"],
    )


async def state_of(connection: AnyConnection, schema: str) -> SchemaState:
    """What a storage that starts on ``schema`` looks at."""
    async with connected(None, connection, schema) as link:
        return await read_state(link, schema)


def _result(
    before: SchemaState,
    after: SchemaState,
    steps: list[Step],
    began: float,
    notes: Sequence[str] = (),
) -> MigrationResult:
    notes = list(notes)
    if after.version > LATEST:
        notes.append(f"version {after.version} is newer than this release, which knows {LATEST}")
    return MigrationResult(
        schema=before.schema,
        from_version=before.version,
        to_version=after.version,
        steps=tuple(steps),
        seconds=time.monotonic() - began,
        adopted=before.inherited or None,
        notes=(*notes, *_notes(after)),
    )


def _absent(state: SchemaState) -> tuple[str, ...]:
    """That there is nothing, which may be for a wrong name."""
    if not state.found["schema_present"]:
        return (f"there is no schema {state.schema}",)
    return () if state.found["present"] else ("there is no table workflow_instances in it",)


def _notes(state: SchemaState) -> tuple[str, ...]:
    """What else there is to say about a schema."""
    notes = []
    claimed = claimed_version(state.comment)
    if claimed is not None and claimed > state.version:
        notes.append(
            f"the table's comment still says {claimed}, by which HephaestusEcto tells the version; "
            "it is left to its side, which would not migrate any more; if that is to, run: "
            f"COMMENT ON TABLE {state.schema}.workflow_instances IS '{state.version}'"
        )
    if state.without_triggers and not state.found["has_trigger"] and LATEST in state.versions:
        notes.append(
            "the table cannot have triggers, so that update does not see what other programs write"
        )
    return tuple(notes)
