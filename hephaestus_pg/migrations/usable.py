"""Whether a storage can use a schema, and what it has to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import MigrationError, SchemaOutdatedError
from hephaestus_pg.migrations.connections import connected
from hephaestus_pg.migrations.differences import check_encoding, differences
from hephaestus_pg.migrations.state import SchemaState, read_state

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection


class Usable(NamedTuple):
    """What a storage has to know of a schema in which its statements can run."""

    variants: tuple[str, ...]
    """The variants of the statements that can run on this table."""
    warnings: list[str]
    """What to warn of, each to stand behind the schema's name."""


async def check_usable(connection: AnyConnection, schema: str) -> Usable:
    """Refuses a schema in which a storage's statements could not run.

    Raises:
        SchemaOutdatedError: The schema is missing or too old.
        MigrationError: Nothing could be written.
    """
    latest = _sql.latest_version()
    async with connected(None, connection, schema) as link:
        state = await read_state(link, schema)
        variants = await _variants(link, state)
    if state.version < latest:
        raise SchemaOutdatedError(schema, found=state.version, needed=latest)
    check_encoding(state)
    warnings = []
    for difference in differences(state):
        if difference.serious:
            raise MigrationError(schema, f"schema {schema!r}: {difference}")
        warnings.append(f": {difference}")
    if state.version > latest:
        warnings.append(
            f" is at version {state.version}, newer than the {latest} that this version of "
            "hephaestus_pg knows; it works on, but upgrade it soon"
        )
    return Usable(variants, warnings)


async def _variants(connection: AnyConnection, state: SchemaState) -> tuple[str, ...]:
    if not state.found["may_be_distributed"]:
        return ()
    text = _sql.statement("migrations_distributed", state.schema)
    rows = await fetch_rows(connection, text, ())
    if not rows:
        return ()
    return ("distributed", "citus") if rows[0]["has_several"] == "true" else ("citus",)
