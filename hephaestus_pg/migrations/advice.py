"""Advice to the operator: what to run, and what to know about a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus_pg.migrations.ecto import LAST_ECTO_VERSION, ecto_comment
from hephaestus_pg.migrations.state import REVISION_TRIGGER, TEXT, TIMESTAMP

if TYPE_CHECKING:
    from hephaestus_pg.migrations.results import Profile
    from hephaestus_pg.migrations.state import SchemaState

_DEFAULTS: Final = {
    "status": "'pending'",
    "state": "'{}'",
    "workflow_version": 1,
    "revision": 1,
    "attempts": 0,
}


def run_up(schema: str) -> str:
    """Returns the command that brings ``schema`` to the latest version."""
    return f"run: python -m hephaestus_pg.migrate up --schema {schema}"


def undistribute_first(schema: str) -> str:
    """Returns the advice to take ``schema`` off the workers for what they cannot do."""
    return f"first run: python -m hephaestus_pg.migrate undistribute --schema {schema}"


def retype_column(schema: str, name: str, kind: str, wanted: str) -> str:
    """Returns the statements that change the column ``name`` from type ``kind`` to ``wanted``."""
    table = f"{schema}.workflow_instances"
    wanted = {TEXT[0]: "varchar(255)", TIMESTAMP[0]: "timestamp(0)"}.get(wanted, wanted)
    value = f"{name}::text::{wanted}"
    if kind == "timestamp with time zone":
        value = f"{name} AT TIME ZONE 'UTC'"  # not in the session's own zone
    alter = f"ALTER COLUMN {name} DROP DEFAULT, ALTER COLUMN {name} TYPE {wanted} USING {value}"
    if name in _DEFAULTS:
        alter += f", ALTER COLUMN {name} SET DEFAULT {_DEFAULTS[name]}"
    # PostgreSQL refuses to retype a column that a trigger looks at; up makes the trigger again.
    drop = f"DROP TRIGGER IF EXISTS hephaestus_pg_raise_revision ON {table}; "
    return f"run: {drop if name == 'revision' else ''}ALTER TABLE {table} {alter}"


def absence_notes(state: SchemaState) -> tuple[str, ...]:
    """Says that there is no schema or no table, since the name may be a wrong one."""
    if not state.found["schema_present"]:
        return (f"there is no schema {state.schema}",)
    return () if state.found["present"] else ("there is no table workflow_instances in it",)


def schema_notes(state: SchemaState) -> tuple[str, ...]:
    """Returns notes that ask for nothing: a comment too high, a table without triggers."""
    notes = []
    comment = ecto_comment(state.comment)
    if comment is not None and comment > state.version:
        notes.append(
            f"the table's comment still says {comment}, by which HephaestusEcto tells the version; "
            "it is left to its side, which would not migrate any more; if that is to, run: "
            f"COMMENT ON TABLE {state.schema}.workflow_instances IS '{state.version}'"
        )
    lacks_trigger = state.without_triggers and not state.found["has_trigger"]
    if lacks_trigger and REVISION_TRIGGER in state.versions:
        notes.append(
            "the table cannot have triggers, so that update does not see what other programs write"
        )
    return tuple(notes)


def index_notes(state: SchemaState, profile: Profile) -> tuple[str, ...]:
    """Says that HephaestusEcto's ``up()`` would undo the choice, and what prevents that."""
    if profile == "full" or (ecto_comment(state.comment) or 0) >= LAST_ECTO_VERSION:
        return ()
    note = (
        "HephaestusEcto's up(), if it is run here, builds the full index again, and keeps writers "
        "waiting meanwhile; the comment in which it keeps its version prevents that: COMMENT ON "
        f"TABLE {state.schema}.workflow_instances IS '{LAST_ECTO_VERSION}'"
    )
    return (note,)
