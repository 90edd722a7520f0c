"""The check of a schema before a storage uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg.errors import MigrationError, SchemaOutdatedError
from hephaestus_pg.migrations.connections import connected
from hephaestus_pg.migrations.differences import check_encoding, differences
from hephaestus_pg.migrations.state import read_state

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.results import Distribution


class Usable(NamedTuple):
    """A schema in which a storage's statements can run, as far as they depend on it."""

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
    return Usable(_variants(state.distribution), warnings)


def _variants(distribution: Distribution | None) -> tuple[str, ...]:
    if distribution is None:
        return ()
    has_several = distribution.by in {"id", "another column"}
    return ("distributed", "citus") if has_several else ("citus",)
