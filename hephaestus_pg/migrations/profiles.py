"""The choice of the index over states, and its change on a live table.

The index over whole states is what HephaestusEcto promises, and the largest cost of a write: every
update changes it, so that none is heap-only. A schema whose states are never searched, or only for
what instances began with, can have a cheaper one. What a change runs stands in ``sql/profiles/``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, get_args

from hephaestus_pg import _sql
from hephaestus_pg._checks import plain_text
from hephaestus_pg.errors import InvalidValueError, RewriteRefusedError, SchemaOutdatedError
from hephaestus_pg.migrations.advice import index_notes
from hephaestus_pg.migrations.citus import check_index
from hephaestus_pg.migrations.files import stages_in
from hephaestus_pg.migrations.results import IndexResult, Profile
from hephaestus_pg.migrations.session import migrating
from hephaestus_pg.migrations.stages import run_stages
from hephaestus_pg.migrations.steps import check_names
from hephaestus_pg.values.arguments import checked_flag

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState

REWRITE_UP_TO: Final = 64 * 2**20
"""The size of the table, in bytes, up to which it is rewritten unasked."""


async def index(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    profile: Profile,
    rewrite: bool = False,
    wait: float = 300.0,
) -> IndexResult:
    """Gives a schema's states another index; storages notice by themselves, and need no restart.

    - ``"full"``: over whole states, which serves every ``contains``. What :func:`up` leaves, with
      a shorter pending list. It is built while readers and writers go on.
    - ``"initial"``: over the initial context, which serves a ``contains`` with a value in it.
      Updates stay heap-only. To add its column PostgreSQL rewrites the table, and nobody can read
      or write that meanwhile.
    - ``"none"``: ``contains`` reads every row, and so needs ``allow_scan``. Takes a moment.

    HephaestusEcto's ``up()`` would build the full index again, under a lock that stops writers,
    unless the table's comment says its version; the notes say so.

    Interrupted, it is run again; what is in force already is left as it is.

    Args:
        dsn: As for :func:`up`.
        connection: As for :func:`up`.
        schema: The schema.
        profile: The index that the schema is to have.
        rewrite: Rewrite the table even if it is larger than ``REWRITE_UP_TO``.
        wait: As for :func:`up`.

    Raises:
        InvalidValueError: As for :func:`up`, or there is no such profile.
        SchemaOutdatedError: The schema has to be migrated first.
        RewriteRefusedError: The table is too large to be rewritten unasked.
        MigrationError: Citus has distributed the table, and cannot add the column of ``initial``.
        MigrationLockError: Others held a lock for all of ``wait`` seconds.
        DatabaseError: The server refused, or could not be reached.
    """
    if profile not in get_args(Profile):
        raise InvalidValueError("profile", profile, f"give one of {', '.join(get_args(Profile))}")
    checked_flag("rewrite", rewrite)
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        state = await session.read_state()
        if state.version < _sql.latest_version():
            raise SchemaOutdatedError(
                state.schema, found=state.version, needed=_sql.latest_version()
            )
        check_index(state, profile)
        await check_names(session.connection, state)
        found: Any = await session.connection.fetchrow(
            _sql.statement("index_profile", state.schema)
        )
        rewritten = 0
        if profile == "initial" and not found["has_column"]:
            rewritten = await _size_to_rewrite(session, state, rewrite=rewrite)
        await run_stages(session, stages_in("profiles", plain_text(profile)), of=f"index {profile}")
    return IndexResult(
        schema=state.schema,
        before=found["profile"],
        after=profile,
        seconds=time.monotonic() - began,
        rewritten=rewritten,
        notes=index_notes(state, profile),
    )


async def _size_to_rewrite(session: MigrationSession, state: SchemaState, *, rewrite: bool) -> int:
    size = await session.table_size(state)
    if size > REWRITE_UP_TO and not rewrite:
        raise RewriteRefusedError(session.schema, size=size, flag="--rewrite")
    return size
