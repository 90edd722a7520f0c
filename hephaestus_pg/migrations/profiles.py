"""Which index over states a schema has, and changing that on a live table.

The index over whole states is what HephaestusEcto promises, and what costs most of a write: any
update changes it, so that none is heap-only. Who never searches states, or only what instances
began with, can have it cheaper. What a change runs stands in ``sql/profiles/``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from hephaestus_pg import _sql
from hephaestus_pg.errors import InvalidValueError, RewriteRefusedError, SchemaOutdatedError
from hephaestus_pg.migrations.files import Stage, latest
from hephaestus_pg.migrations.session import MigrationSession, connected
from hephaestus_pg.migrations.state import ORIGINAL, claimed_version, read_state

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.state import SchemaState

Profile = Literal["full", "initial", "none"]
"""What of a state an index holds: all of it, the initial context, or nothing."""

REWRITE_UP_TO: Final = 64 * 2**20
"""The size of the table, in bytes, up to which it is rewritten unasked."""


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What a change of profile did."""

    schema: str
    before: Profile
    after: Profile
    seconds: float
    rewritten: int = 0
    """The bytes of the table, if it was rewritten; nobody could use it meanwhile."""
    notes: tuple[str, ...] = ()


async def index(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    profile: Profile,
    rewrite: bool = False,
    wait: float = 300.0,
) -> IndexResult:
    """Give a schema's states another index; storages notice by themselves, and need no restart.

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
        schema: Which schema.
        profile: What the schema is to have.
        rewrite: Rewrite the table even if it is larger than ``REWRITE_UP_TO``.
        wait: As for :func:`up`.

    Raises:
        SchemaOutdatedError: The schema is to be migrated first.
        RewriteRefusedError: The table is too large to be rewritten unasked.
        MigrationLockError: A lock was not to be had within ``wait`` seconds.
        DatabaseError: The server refused, or could not be reached.
    """
    if profile not in get_args(Profile):
        raise InvalidValueError("profile", profile, f"give one of {', '.join(get_args(Profile))}")
    began = time.monotonic()
    async with (
        connected(dsn, connection, schema) as link,
        MigrationSession.opened(link, schema, wait=wait) as session,
    ):
        state = await read_state(link, schema)
        if state.version < latest():
            raise SchemaOutdatedError(schema, found=state.version, needed=latest())
        found: Any = await link.fetchrow(_sql.statement("index_profile", schema))
        size = 0
        if profile == "initial" and not found["has_column"]:
            size = await link.fetchval(_sql.statement("migrations_size", schema))
            if size > REWRITE_UP_TO and not rewrite:
                raise RewriteRefusedError(schema, size=size, flag="--rewrite")
        await session.stages(stages_in("profiles", profile), of=f"index {profile}")
    return IndexResult(
        schema,
        found["profile"],
        profile,
        time.monotonic() - began,
        rewritten=size,
        notes=_notes(state, profile),
    )


def _notes(state: SchemaState, profile: Profile) -> tuple[str, ...]:
    if profile == "full" or (claimed_version(state.comment) or 0) >= ORIGINAL:
        return ()
    note = (
        "HephaestusEcto's up(), if it is run here, builds the full index again, and keeps writers "
        "waiting meanwhile; the comment in which it keeps its version prevents that: COMMENT ON "
        f"TABLE {state.schema}.workflow_instances IS '{ORIGINAL}'"
    )
    return (note,)


def stages_in(folder: str, name: str) -> tuple[Stage, ...]:
    """The files ``sql/<folder>/<name>.K.<kind>.sql``, in their order."""
    paths = sorted((_sql.root() / folder).glob(f"{name}.*.sql"))
    return tuple(
        Stage(path.name.split(".")[2], path.read_text(encoding="utf-8"))  # type: ignore[arg-type]
        for path in paths
    )
