"""The text of ``sql/``: found, read once, and set to a schema.

Tables stand behind the marker ``/* schema */``. ``/* include: name */`` is replaced by the file of
that name in ``sql/queries/fragments``, so that what several statements share is written once. A
fragment of a variant, such as ``contained_initial.sql``, takes the place of the plain one in that
variant of a statement. Comment lines are not sent, so that a statement begins with its verb,
by which tracing tools name it.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

from hephaestus_pg._checks import plain_text
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

# HephaestusEcto's rule for a prefix, and PostgreSQL's limit for an identifier.
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_MAX_IDENTIFIER_BYTES = 63

_INCLUDE = re.compile(r"/\* include: (\w+) \*/")
_SCHEMA = "/* schema */"
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
# Semicolons of a body in PL/pgSQL end no statement.
_BODY_OR_END = re.compile(r"\$\$.*?\$\$|;$", re.DOTALL | re.MULTILINE)


def checked_schema(schema: str) -> str:
    """Returns ``schema`` as a plain ``str``; see :func:`checked_identifier`."""
    return checked_identifier("schema", schema)


def checked_identifier(field: str, name: str) -> str:
    """Returns ``name``, plain, if it can stand in SQL unquoted.

    ``field`` says in the error whose it is.

    Raises:
        InvalidTypeError: It is not a ``str``.
        InvalidValueError: It is not ``[a-z_][a-z0-9_]*``, or longer than 63 bytes.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(field, name, f"give the {field}'s name as a str")
    if not _IDENTIFIER.fullmatch(name) or len(name) > _MAX_IDENTIFIER_BYTES:
        raise InvalidValueError(
            field,
            name,
            "use a lower-case letter or _, then letters, digits and _, 63 characters at most",
        )
    return plain_text(name)


@cache
def root() -> Path:
    """Returns the folder ``sql/``: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    packed = package / "sql"
    return packed if packed.is_dir() else package.parent / "sql"


# Some forty for each schema, and a program may have any number of those, one after another.
@lru_cache(maxsize=50_000)
def statement(name: str, schema: str, *variants: str) -> str:
    """Returns the statement ``<name>.sql`` of ``sql/queries``, set to ``schema``.

    The names of statements are unique across the folders, which only sort them.
    """
    return in_schema(_expanded(name, variants), schema)


def in_schema(text: str, schema: str) -> str:
    """Returns ``text`` with its tables in ``schema``."""
    return text.replace(_SCHEMA, f'"{checked_schema(schema)}".')


def rendered(text: str, schema: str) -> str:
    """Returns ``text`` as it goes to the server.

    Its fragments are included, its comment lines removed, and its tables are in ``schema``.
    """
    return in_schema(_included(text), schema)


def split(text: str) -> list[str]:
    """Splits ``text`` into statements, each with the comment before it.

    A statement ends with a semicolon at the end of a line; the last may do without.
    """
    ends = [match.end() for match in _BODY_OR_END.finditer(text) if match[0] == ";"]
    parts = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return [part for part in parts if part]


@cache
def _expanded(name: str, variants: tuple[str, ...]) -> str:
    files = _query_files()
    of_variants = (files.get(f"{name}_{variant}") for variant in variants)
    path = next(filter(None, of_variants), files[name])
    return _included(path.read_text(encoding="utf-8"), variants)


def _included(text: str, variants: tuple[str, ...] = ()) -> str:
    return _INCLUDE.sub(
        lambda include: _expanded(include[1], variants).strip(), _COMMENT.sub("", text)
    )


@cache
def _query_files() -> dict[str, Path]:
    return {path.stem: path for path in (root() / "queries").rglob("*.sql")}


@cache
def latest_version() -> int:
    """Returns the version that this package brings a schema to, and needs: the last migration's."""
    return max(int(path.name[:3]) for path in (root() / "migrations").glob("[0-9]*.sql"))
