"""The version at which HephaestusEcto left a table that has no version table of ours.

HephaestusEcto keeps its version in the table's comment, and its versions 1 to 3 are the same as
ours. The comment is read here and never written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hephaestus_pg.errors import InvalidValueError, UnrecognizedSchemaError
from hephaestus_pg.migrations.files import checked_version

if TYPE_CHECKING:
    from asyncpg import Record

LAST_ECTO_VERSION: Final = 3
"""The latest version of HephaestusEcto's that this release knows."""

_NUMBER = re.compile(r"[0-9]{1,9}")


def ecto_comment(comment: str | None) -> int | None:
    """Reads the version in a table's comment; ``None`` if the comment is no number."""
    return int(comment) if comment and _NUMBER.fullmatch(comment) else None


def ecto_version(found: Record, schema: str, assume_version: int | None) -> int:
    """Tells at which version HephaestusEcto left the table of ``schema``.

    The comment counts as far as the columns agree: a migration that runs once more than needed does
    no harm, one that is left out does.

    Args:
        found: The row of ``migrations_found``, which says that there is a table.
        schema: Where it is.
        assume_version: The version, if the comment does not say it.

    Raises:
        UnrecognizedSchemaError: It is not a table of HephaestusEcto's, or of an unknown version.
        InvalidValueError: The table does not have the columns of ``assume_version``.
    """
    comment: str | None = found["comment"]
    layout: int = found["layout"]
    _check_is_theirs(found, schema)
    if assume_version is not None:
        if checked_version("assume_version", assume_version, default=None, low=0) > layout:
            raise InvalidValueError(
                "assume_version",
                assume_version,
                f"{_table(schema)} has the columns of version {layout}",
            )
        return assume_version
    if not comment:
        return layout
    return min(_known_version(comment, layout, schema), layout)


def _check_is_theirs(found: Record, schema: str) -> None:
    if found["kind"] not in {"r", "p"}:
        raise UnrecognizedSchemaError(
            schema,
            found["comment"],
            f"workflow_instances in schema {schema!r} is not a table (relkind {found['kind']!r}); "
            "rename it, or migrate another schema",
        )
    if not found["layout"]:
        raise UnrecognizedSchemaError(
            schema,
            found["comment"],
            f"{_table(schema)} is not one of HephaestusEcto's: columns are missing; rename it, or "
            "migrate another schema",
        )


def _known_version(comment: str, layout: int, schema: str) -> int:
    version = ecto_comment(comment)
    if version is None:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{_table(schema)} has a comment that is not a version ({comment[:40]!r}), so it "
            f"cannot be told what it is at; its columns are those of {layout}: if that is right, "
            f"run again with --assume-version {layout} (the comment stays)",
        )
    if not 1 <= version <= LAST_ECTO_VERSION:
        raise UnrecognizedSchemaError(
            schema,
            comment,
            f"{_table(schema)} says it is at version {version}, and this release knows the "
            f"original's 1 to {LAST_ECTO_VERSION}; use a newer hephaestus_pg, or, if its columns "
            f"are as in {layout}, run again with --assume-version {layout}",
        )
    return version


def _table(schema: str) -> str:
    return f"the table workflow_instances in schema {schema!r}"
