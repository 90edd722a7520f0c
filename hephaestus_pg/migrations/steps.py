"""The steps of a run: take over a database, apply a migration, revert some, repair the key."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DataLossError, MigrationError, RejectedError
from hephaestus_pg.migrations.files import index_names, shipped, stages_in
from hephaestus_pg.migrations.results import Step
from hephaestus_pg.migrations.stages import run_stages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.files import Migration
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState

# The guards in the .down files raise this; its hint is the flag that lifts the guard.
_DATA_LOSS = "YDL01"

_UNIQUE_VIOLATION = "23505"


async def check_names(connection: AnyConnection, state: SchemaState) -> None:
    """Refuses a schema in which something else has a name that a step is about to give.

    Raises:
        MigrationError: It has.
    """
    if state.found["kind"] == "v":  # in place of a table that was migrated, and renamed
        return
    text = _sql.statement("migrations_taken", state.schema)
    rows = await fetch_rows(connection, text, (",".join(index_names()),))
    if rows:
        taken = "; ".join(f"{row['names']}, by {row['what']}" for row in rows)
        raise MigrationError(
            state.schema,
            f"in schema {state.schema!r} names that migrations give are taken: {taken}; rename "
            "what has them, by ALTER … RENAME TO …, or migrate another schema",
        )


async def adopt(session: MigrationSession, state: SchemaState) -> None:
    """Makes the version table, if there is none, with the versions that HephaestusEcto applied."""
    if state.recorded is not None:
        return

    async def work() -> None:
        await session.execute(_sql.statement("migrations_create", session.schema))
        for migration in shipped():
            if migration.version in state.versions:
                await _record(session, migration)

    await session.transaction(work)


async def apply(
    session: MigrationSession, migration: Migration, *, online: bool, distributed: bool = False
) -> Step:
    """Applies one migration; ``online`` by its stages, if it has any."""
    began = time.monotonic()
    text = migration.before + migration.up
    if distributed and migration.distributed_up:
        online, text = False, migration.distributed_up
    if online := online and bool(migration.stages):
        await run_stages(session, migration.stages, of=f"migration {migration.version}")
        text = migration.before + (migration.online_up or migration.up)
    [ran] = await _run(session, [(text, partial(_record, session, migration))])
    return Step(
        migration.version, migration.name, time.monotonic() - began, online=online, notes=ran.notes
    )


async def revert(
    session: MigrationSession, before: SchemaState, target: int, allow: Iterable[str]
) -> list[Step]:
    """Reverts everything above ``target``, or nothing.

    Raises:
        DataLossError: A step would lose data, and ``allow`` does not name the loss.
    """
    to_revert = [
        migration
        for migration in reversed(shipped())
        if migration.version > target and migration.version in before.versions
    ]
    parts: list[_Part] = [
        (migration.down, partial(_forget, session, migration)) for migration in to_revert
    ]
    if target == 0:
        parts.append((_sql.statement("migrations_drop", session.schema), None))
    # The last part, which drops the version table, is no step.
    return [
        Step(migration.version, migration.name, ran.seconds, notes=ran.notes)
        for migration, ran in zip(to_revert, await _run(session, parts, allow), strict=False)
    ]


async def repair_key(session: MigrationSession, state: SchemaState) -> list[str]:
    """Gives a table its primary key again, which no migration does, and says so in a note.

    Raises:
        MigrationError: Some ids stand in it twice.
    """
    if not state.versions or not state.can_have_key:
        return []
    stages = stages_in("repairs", "primary_key")
    try:
        await run_stages(session, stages, of="the primary key")
    except RejectedError as error:
        if error.sqlstate != _UNIQUE_VIOLATION:
            raise
        # The first stage drops the invalid index that the failure left.
        await run_stages(session, stages[:1], of="the primary key")
        raise MigrationError(
            session.schema,
            f"the table workflow_instances in schema {session.schema!r} has no primary key, and "
            "cannot have one: some ids stand in it twice; leave one row of each, and run up again",
        ) from error
    return ["the table had no primary key, and has one again"]


async def _record(session: MigrationSession, migration: Migration) -> None:
    await session.connection.execute(
        _sql.statement("migrations_record", session.schema),
        migration.version,
        migration.name,
        migration.checksum,
    )


async def _forget(session: MigrationSession, migration: Migration) -> None:
    await session.connection.execute(
        _sql.statement("migrations_forget", session.schema), migration.version
    )


class _Ran(NamedTuple):
    """Seconds that a part took, and its notes (``RAISE INFO``)."""

    seconds: float
    notes: tuple[str, ...]


_Part = tuple[str, "Callable[[], Awaitable[None]] | None"]


async def _run(
    session: MigrationSession, parts: Sequence[_Part], allow: Iterable[str] = ()
) -> list[_Ran]:
    """Runs each part's text and what follows it, all in one transaction."""
    notes: list[str] = []
    done: list[_Ran] = []

    def listen(_: object, message: Any) -> None:
        if message.severity_en == "INFO":
            notes.append(message.message)

    async def work() -> None:
        done.clear()
        for name in allow:
            # Citus may ask its workers what a condition with a setting and a table gives.
            await session.execute(f"SET LOCAL hephaestus_pg.allow_{name} = 'on'")
        for text, then in parts:
            notes.clear()
            began = time.monotonic()
            await session.execute(text)
            if then is not None:
                await then()
            done.append(_Ran(time.monotonic() - began, tuple(notes)))

    session.connection.add_log_listener(listen)
    try:
        await session.transaction(work)
    except RejectedError as error:
        if error.sqlstate != _DATA_LOSS:
            raise
        cause: Any = error.__cause__
        raise DataLossError(session.schema, cause.args[0], flag=cause.hint) from error
    finally:
        session.connection.remove_log_listener(listen)
    return done
