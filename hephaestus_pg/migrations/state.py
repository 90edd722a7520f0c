"""What a schema says about itself, and what is really there.

The versions are the recorded ones, or those that HephaestusEcto left. Its way down, a restore of a
part, or a hand may have taken away what was recorded, and the version table does not notice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hephaestus_pg import _sql
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import (
    InvalidValueError,
    MigrationChangedError,
    MigrationError,
    UnrecognizedSchemaError,
)
from hephaestus_pg.migrations.files import checked_version, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection

# HephaestusEcto's versions are 1 to 3, and ours 1 to 3 are the same.
ORIGINAL: Final = 3

_NUMBER = re.compile(r"[0-9]{1,9}")

_TEXT = ("character varying", "text")
_MOMENT = ("timestamp without time zone",)

# What each version makes that a statement needs: columns, and the types that they may have.
_COLUMNS: Final[dict[int, dict[str, tuple[str, ...]]]] = {
    1: {
        "id": (*_TEXT, "uuid"),
        "workflow": _TEXT,
        "status": _TEXT,
        "state": ("jsonb",),
        "inserted_at": _MOMENT,
        "updated_at": _MOMENT,
    },
    2: {"workflow_version": ("integer",)},
    3: {"id": _TEXT},
    4: {"revision": ("bigint",)},
}
_DEFAULTS: Final = {"status": "'pending'", "state": "'{}'", "workflow_version": 1, "revision": 1}
_WIDE, _TRIGGER = 3, 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the recorded versions left it.

    ``mend``: what to run. ``serious``: until then nothing can be written.
    """

    what: str
    mend: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a schema is at. ``recorded`` is ``None`` without a version table."""

    schema: str
    found: Record
    """What the catalog says: the row of ``migrations_found``."""
    recorded: Mapping[int, Record] | None
    inherited: int = 0
    """What HephaestusEcto migrated and nobody has recorded yet."""

    @property
    def comment(self) -> str | None:
        """The table's comment."""
        comment: str | None = self.found["comment"]
        return comment

    @property
    def versions(self) -> frozenset[int]:
        """The versions that were applied."""
        return frozenset(self.recorded or range(1, self.inherited + 1))

    @property
    def version(self) -> int:
        """The last of them up to which all is there that statements need, 0 without any."""
        gone = [version for version in self.missing if version != _TRIGGER]
        return min(gone) - 1 if gone else max(self.versions, default=0)

    @property
    def missing(self) -> frozenset[int]:
        """The versions that were applied and are to be applied again: what they made is gone."""
        return frozenset(version for version in self.versions if self._is_gone(version))

    def _is_gone(self, version: int) -> bool:
        if not self.found["present"]:
            return True
        if version == _TRIGGER:
            lacks_trigger = not self.found["has_trigger"] and not self.without_triggers
            return lacks_trigger or not self.found["has_default"]
        if version == 1 or self.found["kind"] == "v":
            return False  # no step can make the columns of a table that is there
        before = "uuid" if version == _WIDE else None
        return any(self.columns.get(name) == before for name in _COLUMNS.get(version, ()))

    @property
    def columns(self) -> dict[str, str]:
        """The types of our columns, by name."""
        lines = self.found["columns"].splitlines()
        return {name: kind for name, _, kind in (line.partition(" ") for line in lines)}

    @property
    def without_triggers(self) -> bool:
        """The table cannot have our trigger: it is distributed over servers, or a view."""
        return bool(self.found["may_be_distributed"] or self.found["kind"] == "v")

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What is not as the applied versions left it, with what mends it."""
        up = f"run: python -m hephaestus_pg.migrate up --schema {self.schema}"
        found = []
        if self.wrong_encoding:
            found.append(Difference(self.wrong_encoding, "UTF8 is needed"))
        if self.versions and not self.found["present"]:
            found.append(Difference("there is no table workflow_instances", up))
        elif self.versions:
            found += self._of_columns(up)
            found += self._of_key(up)
            if _TRIGGER in self.missing:
                what = "the trigger or the default is gone that makes every writer raise revision"
                found.append(Difference(what, up, serious=False))
        return tuple(found)

    def _of_columns(self, up: str) -> Iterator[Difference]:
        wanted: dict[str, tuple[int, tuple[str, ...]]] = {}
        for version in sorted(self.versions & _COLUMNS.keys()):
            wanted |= {name: (version, kinds) for name, kinds in _COLUMNS[version].items()}
        for name, (version, kinds) in wanted.items():
            kind = self.columns.get(name)
            if kind in kinds:
                continue
            what = f"the column {name} is of type {kind}, not {kinds[0]}"
            mend = self._retyped(name, kind or "", kinds[0])
            if kind is None:
                what = f"the column {name} is missing"
                mend = f"restore it, or move the table to another schema and {up}"
            yield Difference(what, up if version in self.missing else mend)

    def _retyped(self, name: str, kind: str, wanted: str) -> str:
        """The statements that give a column the wanted type."""
        wanted = {_TEXT[0]: "varchar(255)", _MOMENT[0]: "timestamp(0)"}.get(wanted, wanted)
        value = f"{name}::text::{wanted}"
        if kind == "timestamp with time zone":
            value = f"{name} AT TIME ZONE 'UTC'"  # not in whatever zone the session is
        alter = f"ALTER COLUMN {name} DROP DEFAULT, ALTER COLUMN {name} TYPE {wanted} USING {value}"
        if name in _DEFAULTS:
            alter += f", ALTER COLUMN {name} SET DEFAULT {_DEFAULTS[name]}"
        # What a trigger looks at cannot be given another type; up makes it again.
        drop = f"DROP TRIGGER IF EXISTS hephaestus_pg_raise_revision ON {self._table}; "
        return f"run: {drop if name == 'revision' else ''}ALTER TABLE {self._table} {alter}"

    def _of_key(self, up: str) -> Iterator[Difference]:
        if self.found["kind"] == "v":
            return
        if not self.found["has_key"]:
            mend = (
                up if self.can_have_key else f"run: ALTER TABLE {self._table} ADD PRIMARY KEY (id)"
            )
            serious = not self.found["has_unique_id"]
            yield Difference("the table has no primary key", mend, serious=serious)
        elif not self.found["has_unique_id"]:
            what = "the table's primary key is not its id, and no other unique index is"
            yield Difference(what, f"run: CREATE UNIQUE INDEX ON {self._table} (id)")

    @property
    def _table(self) -> str:
        return f"{self.schema}.workflow_instances"

    @property
    def can_have_key(self) -> bool:
        """The table has no primary key, and ``up`` can give it one."""
        return self.found["kind"] == "r" and not self.found["has_key"]

    @property
    def wrong_encoding(self) -> str:
        """What is wrong with the encoding of the database or the connection, if anything."""
        if self.found["server_encoding"] != "UTF8":
            return (
                f"the database {self.found['database']!r} has the encoding "
                f"{self.found['server_encoding']}, which cannot hold every text"
            )
        if self.found["client_encoding"] != "UTF8":
            return (
                f"the connection has the client_encoding {self.found['client_encoding']}, which "
                "cannot hold every text"
            )
        return ""

    def check_encoding(self) -> None:
        """Raise an error unless texts of any kind go into the database, and come back."""
        if self.found["server_encoding"] != "UTF8":
            raise MigrationError(
                self.schema,
                f"{self.wrong_encoding}; use one made by CREATE DATABASE name "
                "ENCODING 'UTF8' TEMPLATE template0",
            )
        if self.wrong_encoding:
            raise MigrationError(
                self.schema,
                f"{self.wrong_encoding}; leave it at UTF8, as asyncpg has it: look at the pool's "
                "server_settings, init and setup",
            )

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
    [found] = await fetch_rows(connection, _sql.statement("migrations_found", schema), ())
    if found["recorded"]:
        rows = await connection.fetch(_sql.statement("migrations_applied", schema))
        return SchemaState(schema, found, {row["version"]: row for row in rows})
    if not found["present"]:
        return SchemaState(schema, found, None)
    return SchemaState(schema, found, None, inherited=_inherited(found, schema, assume_version))


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
    if found["kind"] not in {"r", "p"}:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"workflow_instances in schema {schema!r} is not a table (relkind {found['kind']!r}); "
            "rename it, or migrate another schema",
        )
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
    if not 1 <= claimed <= ORIGINAL:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{table} says it is at version {claimed}, and this release knows the original's "
            f"1 to {ORIGINAL}; use a newer hephaestus_pg, or, if its columns are as in {layout}, "
            f"run again with --assume-version {layout}",
        )
    return min(claimed, layout)
