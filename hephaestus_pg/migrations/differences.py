"""The differences between a schema and what its recorded versions left, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_pg.errors import MigrationError
from hephaestus_pg.migrations.advice import retype_column, run_up
from hephaestus_pg.migrations.results import Difference
from hephaestus_pg.migrations.state import COLUMNS, REVISION_TRIGGER, RUNNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus_pg.migrations.state import SchemaState


def differences(state: SchemaState) -> tuple[Difference, ...]:
    """Compares what is there with what the applied versions left."""
    found = []
    if encoding := _wrong_encoding(state):
        found.append(Difference(encoding, "UTF8 is needed"))
    if state.versions and not state.found["present"]:
        found.append(Difference("there is no table workflow_instances", run_up(state.schema)))
    elif state.versions:
        found += _in_columns(state)
        found += _in_key(state)
        if REVISION_TRIGGER in state.missing:
            problem = "the trigger or the default is gone that makes every writer raise revision"
            found.append(Difference(problem, run_up(state.schema), serious=False))
        if RUNNERS in state.versions and not state.found["has_runners"]:
            found.append(Difference("there is no table workflow_runners", run_up(state.schema)))
    return tuple(found)


def check_encoding(state: SchemaState) -> None:
    """Raises :class:`MigrationError` unless database and connection can hold every text."""
    wrong = _wrong_encoding(state)
    if state.found["server_encoding"] != "UTF8":
        raise MigrationError(
            state.schema,
            f"{wrong}; use one made by CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        )
    if wrong:
        raise MigrationError(
            state.schema,
            f"{wrong}; leave it at UTF8, as asyncpg has it: look at the pool's server_settings, "
            "init and setup",
        )


def _wrong_encoding(state: SchemaState) -> str:
    found = state.found
    if found["server_encoding"] != "UTF8":
        return (
            f"the database {found['database']!r} has the encoding {found['server_encoding']}, "
            "which cannot hold every text"
        )
    if found["client_encoding"] != "UTF8":
        return (
            f"the connection has the client_encoding {found['client_encoding']}, which cannot hold "
            "every text"
        )
    return ""


def _in_columns(state: SchemaState) -> Iterator[Difference]:
    up = run_up(state.schema)
    wanted: dict[str, tuple[int, tuple[str, ...]]] = {}
    for version in sorted(state.versions & COLUMNS.keys()):
        wanted |= {name: (version, kinds) for name, kinds in COLUMNS[version].items()}
    for name, (version, kinds) in wanted.items():
        kind = state.columns.get(name)
        if kind in kinds:
            continue
        if kind is None:
            problem = f"the column {name} is missing"
            fix = f"restore it, or move the table to another schema and {up}"
        else:
            problem = f"the column {name} is of type {kind}, not {kinds[0]}"
            fix = retype_column(state.schema, name, kind, kinds[0])
        yield Difference(problem, up if version in state.missing else fix)


def _in_key(state: SchemaState) -> Iterator[Difference]:
    table = f"{state.schema}.workflow_instances"
    if state.found["kind"] == "v":
        return
    if not state.found["has_key"]:
        add = f"run: ALTER TABLE {table} ADD PRIMARY KEY (id)"
        fix = run_up(state.schema) if state.can_have_key else add
        serious = not state.found["has_unique_id"]
        yield Difference("the table has no primary key", fix, serious=serious)
    elif not state.found["has_unique_id"]:
        problem = "the table's primary key is not its id, and no other unique index is"
        yield Difference(problem, f"run: CREATE UNIQUE INDEX ON {table} (id)")
