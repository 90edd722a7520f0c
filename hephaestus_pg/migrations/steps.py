"""The steps of a run on a schema: taking over, applying, taking back, mending."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError, RejectedError
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.profiles import stages_in
from hephaestus_pg.migrations.results import Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg.migrations.files import Migration
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState


async def adopt(session: MigrationSession, state: SchemaState) -> None:
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


async def apply(session: MigrationSession, migration: Migration, *, online: bool) -> Step:
    """Apply one migration; ``online`` by its stages, if it has any."""
    began = time.monotonic()
    text = migration.up
    if online := online and bool(migration.stages):
        await session.stages(migration.stages, of=f"migration {migration.version}")
        text = migration.online_up or migration.up
    [ran] = await session.run([(migration.before + text, lambda: _record(session, migration))])
    return Step(
        migration.version, migration.name, time.monotonic() - began, online=online, notes=ran.notes
    )


async def take_back(
    session: MigrationSession, before: SchemaState, target: int, allow: list[str]
) -> list[Step]:
    """Take back what is above ``target``, all of it or nothing."""

    async def forget(migration: Migration) -> None:
        await session.connection.execute(
            _sql.statement("migrations_forget", session.schema), migration.version
        )

    doomed = [
        migration
        for migration in reversed(shipped())
        if migration.version > target and migration.version in before.versions
    ]
    steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        (migration.down, partial(forget, migration)) for migration in doomed
    ]
    if target == 0:
        steps.append((_sql.statement("migrations_drop", session.schema), _nothing))
    return [
        Step(migration.version, migration.name, ran.seconds, notes=ran.notes)
        for migration, ran in zip(doomed, await session.run(steps, allow), strict=False)
    ]


async def _nothing() -> None:
    pass


async def mend(session: MigrationSession, state: SchemaState) -> list[str]:
    """Give a table its primary key again, which no step does; what there is to say of it."""
    if not state.versions or not state.can_have_key:
        return []
    stages = stages_in("mends", "primary_key")
    try:
        await session.stages(stages, of="the primary key")
    except RejectedError as error:
        if getattr(error.__cause__, "sqlstate", None) != "23505":
            raise
        await session.stages(stages[:1], of="the primary key")  # what the failure left
        raise MigrationError(
            session.schema,
            f"the table workflow_instances in schema {session.schema!r} has no primary key, and "
            "cannot have one: some ids stand in it twice; leave one row of each, and run up again",
        ) from error
    return ["the table had no primary key, and has one again"]
