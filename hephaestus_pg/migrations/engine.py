"""Brings a schema up to a version, or down to it: one step after the other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations.advice import absence_notes, schema_notes
from hephaestus_pg.migrations.citus import add_local_tables, check_down, check_up
from hephaestus_pg.migrations.differences import check_encoding, differences
from hephaestus_pg.migrations.files import checked_version
from hephaestus_pg.migrations.planning import ONLINE_ABOVE
from hephaestus_pg.migrations.results import (
    MigrationResult,
    Step,
)
from hephaestus_pg.migrations.scripts import allowed
from hephaestus_pg.migrations.session import migrating
from hephaestus_pg.migrations.steps import adopt, apply, check_names, repair_key, revert
from hephaestus_pg.values.arguments import checked_flag, checked_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState

LATEST: Final = _sql.latest_version()
"""The version that this package brings a schema to, and needs."""


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
    """Applies what is missing, up to and including ``version`` (default: the latest).

    Any number of processes may do this at once. Each version is a transaction, so what was applied
    before an error stays applied, and the next run goes on from there. What was applied once and is
    gone since is applied again; the notes tell what this cannot mend.

    Args:
        dsn: The database; by default ``HEPHAESTUS_PG_DSN``, else the ``PG*`` variables.
        connection: A connection of yours instead, outside a transaction.
        schema: The schema, made if it is not there.
        version: The last version to apply.
        online: Take the way that keeps readers and writers going, where a step has one: longer on
            the whole, and it waits for transactions that began before it. By default only if the
            table is larger than ``ONLINE_ABOVE``.
        assume_version: The version that a table of HephaestusEcto's is at, if it does not say so
            itself. Ignored once versions are recorded.
        wait: Seconds to wait for a lock, in all its tries, before giving up. After two the log
            names who is in the way.
        progress: Called with each step as soon as it is committed.

    Raises:
        InvalidValueError: An argument is wrong, or the connection is in a transaction.
        UnrecognizedSchemaError: There is a table whose version cannot be told.
        MigrationChangedError: A file is not the one that was applied.
        MigrationLockError: Others held a lock for all of ``wait`` seconds.
        MigrationError: Something is in the way, such as a pooler, a standby, a database that is not
            UTF8, or a name that is taken; it says what to do.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=LATEST, low=1)
    if online is not None:
        checked_flag("online", online)
    checked_progress(progress, "a step")
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        before = await session.read_state(assume_version=assume_version)
        before.check_files()
        check_encoding(before)
        check_up(before, target)
        if before.pending(target):
            await check_names(session.connection, before)
        await adopt(session, before)
        steps = await _apply_pending(session, before, target, online=online, progress=progress)
        after = await session.read_state()
        if notes := await repair_key(session, after):
            after = await session.read_state()
    notes += [f"still wrong: {difference}" for difference in differences(after)]
    return _result(before, after, steps, began, notes)


async def down(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    version: int,
    allow_row_loss: bool = False,
    allow_version_loss: bool = False,
    allow_due_loss: bool = False,
    assume_version: int | None = None,
    wait: float = 300.0,
    progress: Callable[[Step], object] | None = None,
) -> MigrationResult:
    """Reverts what is above ``version``, which is left standing.

    0 removes the tables, ``workflow_instances`` and those beside it; the schema itself stays. All
    of it is one transaction: where one step refuses, none is done. Reverting 3 turns ids into uuid
    again only if all of them are, else it leaves them and says so in the step's notes. Revisions
    that were given out are not given again after another :func:`up`.

    Args:
        dsn: As for :func:`up`.
        connection: As for :func:`up`.
        schema: The schema.
        version: The version that is left standing.
        allow_row_loss: Drop the table even if it holds instances.
        allow_version_loss: Drop ``workflow_version`` even if some are not 1.
        allow_due_loss: Drop ``due_at`` even if it is set in instances that have not finished.
        assume_version: As for :func:`up`.
        wait: As for :func:`up`.
        progress: As for :func:`up`.

    Raises:
        InvalidValueError: As for :func:`up`.
        DataLossError: A step would lose data, and no flag allows it. Nothing is reverted.
        MigrationError: As for :func:`up`, or a newer release has applied a version.
        DatabaseError: The server refused, or could not be reached.
    """
    target = checked_version("version", version, default=None, low=0)
    given = {
        "row_loss": allow_row_loss,
        "version_loss": allow_version_loss,
        "due_loss": allow_due_loss,
    }
    allow = allowed(
        target, [name for name, flag in given.items() if checked_flag(f"allow_{name}", flag)]
    )
    checked_progress(progress, "a step")
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        before = await session.read_state(assume_version=assume_version)
        before.check_files()
        _check_known(before)
        check_down(before, target)
        if before.versions:
            await adopt(session, before)
        steps = await revert(session, before, target, allow)
        if progress is not None:
            for step in steps:
                progress(step)
        after = await session.read_state()
    return _result(before, after, steps, began, () if steps else absence_notes(before))


async def _apply_pending(
    session: MigrationSession,
    before: SchemaState,
    target: int,
    *,
    online: bool | None,
    progress: Callable[[Step], object] | None,
) -> list[Step]:
    steps: list[Step] = []
    state = before
    if (pending := before.pending(target)) and online is None:
        online = await session.table_size(before) > ONLINE_ABOVE
    for migration in pending:
        if state.found["may_be_distributed"]:  # a schema can be made so that its tables begin as it
            state = await session.read_state()
        steps.append(
            await apply(session, migration, online=bool(online), distributed=state.is_distributed)
        )
        if progress is not None:
            progress(steps[-1])
    if steps and state.distribution is not None and state.distribution.by == "id":
        await add_local_tables(session)
    return steps


def _check_known(state: SchemaState) -> None:
    if unknown := [version for version in state.versions if version > LATEST]:
        raise MigrationError(
            state.schema,
            f"schema {state.schema!r} is at version {max(unknown)}, which this release does not "
            "know; take it back with the one that applied it",
        )


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
        adopted=before.ecto_version or None,
        notes=(*notes, *schema_notes(after)),
    )
