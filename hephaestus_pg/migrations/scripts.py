"""The migrations as text: for ``psql``, and for a host application's own migration tool."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

from hephaestus_pg import _sql
from hephaestus_pg.errors import InvalidValueError
from hephaestus_pg.migrations.files import checked_version, shipped
from hephaestus_pg.values.arguments import listed

if TYPE_CHECKING:
    from collections.abc import Collection

    from hephaestus_pg.migrations.files import Migration

Direction = Literal["up", "down"]

LOSSES: Final = ("row_loss", "version_loss", "due_loss")
"""The data that ``down`` may lose, where it is allowed."""

_ALL_OR_NOTHING = "-- One transaction. Run it with: psql --set ON_ERROR_STOP=1 --file"
_ONE_TRANSACTION = "-- Run this in one transaction: psql --single-transaction --file"

_ALEMBIC = '''"""Take the workflow instances in schema {schema} from version {start} to {end}.

Written by hephaestus_pg.
"""

from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


def statements(
    direction: Direction,
    *,
    schema: str = "public",
    version: int | None = None,
    from_version: int | None = None,
    allow: Collection[str] = (),
) -> list[str]:
    """Lists the statements of :func:`script`; all of them belong in one transaction."""
    if direction not in ("up", "down"):
        raise InvalidValueError("direction", direction, "give 'up' or 'down'")
    allow = listed("allow", allow, "losses")
    if unknown := set(allow) - set(LOSSES):
        raise InvalidValueError("allow", sorted(unknown), f"give some of {', '.join(LOSSES)}")
    start, end = _way(direction, version, from_version)
    texts = [f"SET LOCAL hephaestus_pg.allow_{name} = 'on';" for name in allowed(end, allow)]
    if direction == "up":
        texts.append(_sql.statement("migrations_encoding", schema))
        texts += [_record(migration, schema) for migration in shipped()[:start]]
        texts += [part for step in shipped()[start:end] for part in _up(step, schema)]
    else:
        texts += [part for step in reversed(shipped()[end:start]) for part in _down(step, schema)]
        texts.append(_sql.statement("migrations_drop", schema))
    return _guarded(texts, schema)


def _way(direction: Direction, version: int | None, from_version: int | None) -> tuple[int, int]:
    """Returns the versions at which a way begins and ends."""
    going_up, latest = direction == "up", _sql.latest_version()
    start = checked_version("from_version", from_version, default=0 if going_up else latest, low=0)
    end = checked_version("version", version, default=latest if going_up else None, low=0)
    if start != end and going_up != (start < end):
        where = f"begins at {end} or {'below' if going_up else 'above'}"
        raise InvalidValueError("from_version", start, f"{direction} to version {end} {where}")
    return start, end


def allowed(target: int, allow: Collection[str]) -> list[str]:
    """Returns the allowed losses, with those implied: to drop rows is to lose their versions."""
    if target == 0 and "row_loss" in allow:
        return list(LOSSES)
    return list(allow)


def _up(migration: Migration, schema: str) -> list[str]:
    return [_sql.in_schema(migration.before + migration.up, schema), _record(migration, schema)]


def _down(migration: Migration, schema: str) -> list[str]:
    return [
        _sql.in_schema(migration.down, schema),
        _literal(_sql.statement("migrations_forget", schema), migration.version),
    ]


def _record(migration: Migration, schema: str) -> str:
    record = _sql.statement("migrations_record", schema)
    return _literal(record, migration.version, migration.name, migration.checksum)


def _guarded(texts: list[str], schema: str) -> list[str]:
    """Splits ``texts`` into statements, with the lock and the deadlines that the engine uses."""
    texts = [
        # First of all, and without a deadline: whoever holds it does the same work.
        _sql.statement("migrations_lock_transaction", schema),
        # A script cannot try again: better to fail than to make everybody queue behind it.
        "SET LOCAL lock_timeout = '5s';",
        # An error, rather than a check that sees no rows but those that a policy shows.
        "SET LOCAL row_security = off;",
        _sql.statement("migrations_create", schema),
        *texts,
        "SET LOCAL row_security TO DEFAULT;",
        "SET LOCAL lock_timeout TO DEFAULT;",
    ]
    return [statement for text in texts for statement in _sql.split(text)]


def script(
    direction: Direction,
    *,
    schema: str = "public",
    version: int | None = None,
    from_version: int | None = None,
    allow: Collection[str] = (),
) -> str:
    """Writes the script for psql that takes a schema up to ``version``, or down so that it stands.

    It is one transaction. Every statement can be repeated, so it does no harm to begin at an
    earlier version (``from_version``) than that of the database.

    Args:
        direction: ``"up"`` or ``"down"``.
        schema: The schema.
        version: The last one to apply (default: the latest), or the last one to stand (needed).
        from_version: The version of the database: by default 0 on the way up, the latest down.
        allow: The losses that a way down may bring: ``row_loss``, ``version_loss``, ``due_loss``.

    Raises:
        InvalidTypeError: An argument is of the wrong type, or a way down has no version.
        InvalidValueError: There is no such direction, schema, version or loss; or the way would
            lead in the other direction.
    """
    parts = statements(
        direction, schema=schema, version=version, from_version=from_version, allow=allow
    )
    return _text(_ALL_OR_NOTHING, "BEGIN;", *parts, "COMMIT;")


def _text(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def grants(role: str, *, schema: str = "public") -> str:
    """Writes the GRANTs by which ``role`` may read and write a migrated schema's instances only."""
    to = f'TO "{_sql.checked_identifier("role", role)}";'
    rows = "GRANT SELECT, INSERT, UPDATE, DELETE ON /* schema */"
    instances = f"{rows}workflow_instances {to}\n{rows}workflow_runners {to}"
    versions = (
        "-- A storage that starts looks whether the schema is new enough.\n"
        f"GRANT SELECT ON /* schema */hephaestus_pg_migrations {to}"
    )
    return _text(
        f'GRANT USAGE ON SCHEMA "{_sql.checked_schema(schema)}" {to}',
        _sql.in_schema(instances, schema),
        _sql.in_schema(versions, schema),
    )


def numbered_files(
    *, schema: str = "public", version: int | None = None, from_version: int | None = None
) -> dict[str, str]:
    """Returns the texts of a file for each version and direction, by the file's name.

    They are for a tool that runs plain SQL files, and leave the transaction to it: its own record
    of the version belongs in there.
    """
    start, end = _way("up", version, from_version)
    files = {}
    for migration in shipped()[start:end]:
        encoding = _sql.statement("migrations_encoding", schema)
        up = _guarded([encoding, *_up(migration, schema)], schema)
        down = [*_down(migration, schema), _sql.statement("migrations_drop", schema)]
        stem = f"{migration.version:03}_{migration.name}"
        files[f"{stem}.up.sql"] = _text(_ONE_TRANSACTION, *up)
        files[f"{stem}.down.sql"] = _text(_ONE_TRANSACTION, *_guarded(down, schema))
    return files


def alembic_revision(
    *,
    schema: str = "public",
    version: int | None = None,
    from_version: int | None = None,
    down_revision: str | None = None,
) -> tuple[str, str]:
    """Makes the name and the text of an Alembic revision up to ``version``, and back.

    ``down_revision`` is the revision that it follows in the host application. The same versions of
    the same schema always give the same revision.
    """
    schema = _sql.checked_schema(schema)
    start, end = _way("up", version, from_version)
    digest = hashlib.sha256(f"hephaestus_pg {schema} {start} {end}".encode()).hexdigest()
    revision = digest[:12]  # as long as Alembic's own
    text = _ALEMBIC.format(
        schema=schema,
        start=start,
        end=end,
        revision=revision,
        down_revision=down_revision,
        upgrade=_operations(statements("up", schema=schema, version=end, from_version=start)),
        downgrade=_operations(statements("down", schema=schema, version=start, from_version=end)),
    )
    return f"{revision}_hephaestus_pg_{schema}_{end:03}.py", text


def _operations(parts: list[str]) -> str:
    # One statement each, since most drivers prepare what they run.
    return "\n".join(f'    op.execute(\n        r"""\n{part}\n"""\n    )' for part in parts)


def _literal(statement: str, *values: int | str) -> str:
    """Writes parameters into a statement; the values are ours, and need no escaping."""
    for number, value in enumerate(values, 1):
        statement = statement.replace(
            f"${number}", str(value) if isinstance(value, int) else f"'{value}'"
        )
    return statement
