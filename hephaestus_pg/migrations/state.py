"""The state of a schema, as its version table and the catalog have it.

The two may disagree: HephaestusEcto's way down, a partial restore, or a hand may have taken away
what was recorded, and the version table does not notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hephaestus_pg import _sql
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import MigrationChangedError
from hephaestus_pg.migrations.ecto import ecto_version
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.results import Distribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.files import Migration

TEXT: Final = ("character varying", "text")
TIMESTAMP: Final = ("timestamp without time zone",)

COLUMNS: Final[dict[int, dict[str, tuple[str, ...]]]] = {
    1: {
        "id": (*TEXT, "uuid"),
        "workflow": TEXT,
        "status": TEXT,
        "state": ("jsonb",),
        "inserted_at": TIMESTAMP,
        "updated_at": TIMESTAMP,
    },
    2: {"workflow_version": ("integer",)},
    3: {"id": TEXT},
    4: {"revision": ("bigint",)},
    6: {"runner": ("uuid",), "due_at": ("timestamp with time zone",), "attempts": ("integer",)},
}
"""By version, the columns that it makes or changes, and the types that they may have."""

OUR_COLUMNS: Final = sorted({name for columns in COLUMNS.values() for name in columns})
"""The columns that the catalog is asked for."""

WIDE_IDS: Final = 3
"""The version that makes ids text."""

REVISION_TRIGGER: Final = 5
"""The version whose trigger has every writer raise ``revision``."""

RUNNERS: Final = 6
"""The version that makes the table ``workflow_runners``."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """One reading of a schema; what follows from it is worked out on demand."""

    schema: str
    found: Record
    """The catalog's side: the row of ``migrations_found``."""
    recorded: Mapping[int, Record] | None
    """The version table's rows, by version; ``None`` without a version table."""
    ecto_version: int = 0
    """The version that HephaestusEcto left, as long as nobody has recorded it."""
    distribution: Distribution | None = None
    """How Citus keeps the table; ``None`` if it does not know it."""

    @property
    def comment(self) -> str | None:
        """The table's comment."""
        comment: str | None = self.found["comment"]
        return comment

    @property
    def versions(self) -> frozenset[int]:
        """The versions that were applied."""
        return frozenset(self.recorded or range(1, self.ecto_version + 1))

    @property
    def version(self) -> int:
        """The version that statements can rely on; 0 without a table.

        All that it and those below it made is there.
        """
        gone = [version for version in self.missing if version != REVISION_TRIGGER]
        return min(gone) - 1 if gone else max(self.versions, default=0)

    @property
    def missing(self) -> frozenset[int]:
        """The versions that have to be applied again, because what they made is gone."""
        return frozenset(version for version in self.versions if self._is_gone(version))

    def _is_gone(self, version: int) -> bool:
        if not self.found["present"]:
            return True
        if version == REVISION_TRIGGER:
            lacks_trigger = not self.found["has_trigger"] and not self.without_triggers
            return lacks_trigger or not self.found["has_default"]
        if version == 1 or self.found["kind"] == "v":
            # The columns of version 1 cannot be added to a table; a view has none to add.
            return False
        if version == RUNNERS and not self.found["has_runners"]:
            return True
        before = "uuid" if version == WIDE_IDS else None
        return any(self.columns.get(name) == before for name in COLUMNS.get(version, ()))

    def pending(self, target: int) -> list[Migration]:
        """Lists the migrations that a run up to ``target`` has to apply."""
        return [
            migration
            for migration in shipped()
            if migration.version <= target
            and (migration.version not in self.versions or migration.version in self.missing)
        ]

    @property
    def columns(self) -> dict[str, str]:
        """The types of our columns, by name."""
        lines = self.found["columns"].splitlines()
        return {name: kind for name, _, kind in (line.partition(" ") for line in lines)}

    @property
    def without_triggers(self) -> bool:
        """True for a table that cannot have our trigger: it is distributed by Citus, or a view."""
        return self.is_distributed or self.found["kind"] == "v"

    @property
    def is_distributed(self) -> bool:
        """True if Citus keeps the table on its workers."""
        return self.distribution is not None and self.distribution.by != "local"

    @property
    def can_have_key(self) -> bool:
        """True if the table has no primary key, and ``up`` can give it one."""
        return self.found["kind"] == "r" and not self.found["has_key"]

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
        """Raises :class:`MigrationChangedError` if a file is not the one that was applied."""
        for migration in shipped():
            if migration.version in self.changed:
                raise MigrationChangedError(
                    self.schema, version=migration.version, name=migration.name
                )


async def read_state(
    connection: AnyConnection, schema: str, *, assume_version: int | None = None
) -> SchemaState:
    """Reads the catalog once, and the version table if there is one.

    Raises:
        UnrecognizedSchemaError: There is a table whose version cannot be told.
    """
    schema = _sql.checked_schema(schema)
    # An aggregate: there is always a row.
    # The columns are one text, since the driver asks on each new connection what an array is.
    [found] = await fetch_rows(
        connection, _sql.statement("migrations_found", schema), (",".join(OUR_COLUMNS), schema)
    )
    distribution = None
    if found["may_be_distributed"]:
        distribution = await _read_distribution(connection, schema)
    if found["recorded"]:
        rows = await connection.fetch(_sql.statement("migrations_applied", schema))
        recorded = {row["version"]: row for row in rows}
        return SchemaState(schema, found, recorded, distribution=distribution)
    left = ecto_version(found, schema, assume_version) if found["present"] else 0
    return SchemaState(schema, found, None, left, distribution)


async def table_size(connection: AnyConnection, state: SchemaState) -> int:
    """Returns the table's bytes, without its indexes; 0 without a table."""
    size: int = await connection.fetchval(_sized("migrations_size", state))
    return size


async def row_count(connection: AnyConnection, state: SchemaState) -> int:
    """Returns the table's rows, estimated; 0 without a table."""
    rows: int = await connection.fetchval(_sized("migrations_rows", state))
    return rows


def _sized(name: str, state: SchemaState) -> str:
    return _sql.statement(name, state.schema, *["distributed"] * state.is_distributed)


async def _read_distribution(connection: AnyConnection, schema: str) -> Distribution | None:
    text = _sql.statement("migrations_distributed", schema)
    rows = await fetch_rows(connection, text, ())
    return Distribution(rows[0]["kind"], rows[0]["shards"]) if rows else None
