"""What a schema says about itself: the recorded versions, or those that HephaestusEcto left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus_pg import _sql
from hephaestus_pg.errors import InvalidValueError, MigrationChangedError, UnrecognizedSchemaError
from hephaestus_pg.migration_files import checked_version, shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Record

    from hephaestus_pg.driver_errors import AnyConnection

# HephaestusEcto's versions are 1 to 3, and ours 1 to 3 are the same.
_ORIGINAL: Final = 3

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a schema is at. ``recorded`` is ``None`` without a version table."""

    schema: str
    comment: str | None
    recorded: Mapping[int, Record] | None
    inherited: int = 0
    """What HephaestusEcto migrated and nobody has recorded yet."""

    @property
    def versions(self) -> frozenset[int]:
        """The versions that are applied."""
        return frozenset(self.recorded or range(1, self.inherited + 1))

    @property
    def version(self) -> int:
        """The last of them, 0 without any."""
        return max(self.versions, default=0)

    @property
    def changed(self) -> frozenset[int]:
        """The versions whose file is not the one that was applied."""
        return frozenset(
            migration.version
            for migration in shipped()
            if (row := (self.recorded or {}).get(migration.version))
            and row["checksum"] != migration.checksum
        )

    def check_files(self) -> None:
        """Raise :class:`MigrationChangedError` if a file is not the one that was applied."""
        for migration in shipped():
            if migration.version in self.changed:
                raise MigrationChangedError(
                    self.schema, version=migration.version, name=migration.name
                )


async def read_state(
    connection: AnyConnection, schema: str, *, assume_version: int | None = None
) -> SchemaState:
    """What ``schema`` is at: one read of the catalog, and one of the version table if there is one.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
    """
    # An aggregate: there is always a row.
    found: Any = await connection.fetchrow(_sql.statement("migrations_found", schema))
    if found["recorded"]:
        rows = await connection.fetch(_sql.statement("migrations_applied", schema))
        return SchemaState(schema, found["comment"], {row["version"]: row for row in rows})
    if not found["present"]:
        return SchemaState(schema, None, None)
    return SchemaState(
        schema, found["comment"], None, inherited=_inherited(found, schema, assume_version)
    )


def claimed_version(comment: str | None) -> int | None:
    """The version that HephaestusEcto keeps in a table's comment; ``None`` if it is no number."""
    return int(comment) if comment and _NUMBER.fullmatch(comment) else None


def _inherited(found: Record, schema: str, assume_version: int | None) -> int:
    """The version that HephaestusEcto left a table at.

    Its comment counts, but no further than the columns bear it out: a step that runs once more than
    needed does no harm, one that is left out does.
    """
    comment: str | None = found["comment"]
    layout: int = found["layout"]
    table = f"the table workflow_instances in schema {schema!r}"
    if not layout:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{table} is not one of HephaestusEcto's: columns are missing; rename it, or migrate "
            "another schema",
        )
    if assume_version is not None:
        if checked_version("assume_version", assume_version, default=None, low=0) > layout:
            raise InvalidValueError(
                "assume_version", assume_version, f"{table} has the columns of version {layout}"
            )
        return assume_version
    if not comment:
        return layout
    claimed = claimed_version(comment)
    if claimed is None:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{table} has a comment that is not a version ({comment[:40]!r}), so it cannot be told "
            f"what it is at; its columns are those of {layout}: if that is right, run again with "
            f"--assume-version {layout} (the comment stays)",
        )
    if not 1 <= claimed <= _ORIGINAL:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{table} says it is at version {claimed}, and this release knows the original's "
            f"1 to {_ORIGINAL}; use a newer hephaestus_pg, or, if its columns are as in {layout}, "
            f"run again with --assume-version {layout}",
        )
    return min(claimed, layout)
