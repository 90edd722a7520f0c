"""The text of ``sql/``: found, read once, and set to a schema.

A statement names its tables behind the marker ``/* schema */``, so that each file is valid SQL as
it stands. ``/* include: name */`` is replaced by the file of that name beside it: what two
statements share is written once. Lines that are a comment stay here: what is sent begins with its
verb, by which tracing tools name it. A statement's variant ``name:variant`` is made of the files
``<name>_<variant>.sql`` where there are such, and of the others where there are not.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path

from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

# HephaestusEcto's rule for a prefix, and PostgreSQL's limit for an identifier.
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_MAX_IDENTIFIER_BYTES = 63

_INCLUDE = re.compile(r"/\* include: (\w+) \*/")
_SCHEMA = "/* schema */"
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)


def checked_schema(schema: str) -> str:
    """``schema`` itself; see :func:`checked_identifier`."""
    return checked_identifier("schema", schema)


def checked_identifier(field: str, name: str) -> str:
    """``name`` itself, when it can stand in SQL unquoted and unescaped; ``field`` is whose it is.

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
    return name


@cache
def root() -> Path:
    """The folder ``sql/``: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    packed = package / "sql"
    return packed if packed.is_dir() else package.parent / "sql"


# Some forty for each schema, and a program may have any number of those, one after another.
@lru_cache(maxsize=50_000)
def statement(name: str, schema: str) -> str:
    """The statement ``sql/queries/<name>.sql``, or ``name:variant`` of it, set to ``schema``."""
    name, _, variant = name.partition(":")
    return in_schema(_expanded(name, variant), schema)


def in_schema(text: str, schema: str) -> str:
    """``text`` with its tables in ``schema``."""
    return text.replace(_SCHEMA, f'"{checked_schema(schema)}".')


def sent(text: str, schema: str) -> str:
    """``text`` as it is sent: with its tables in ``schema``, and without what only readers need."""
    return in_schema(_included(text, ""), schema)


@cache
def _expanded(name: str, variant: str) -> str:
    folder = root() / "queries"
    path = folder / f"{name}_{variant}.sql"
    text = (path if path.is_file() else folder / f"{name}.sql").read_text(encoding="utf-8")
    return _included(text, variant)


def _included(text: str, variant: str) -> str:
    return _INCLUDE.sub(
        lambda include: _expanded(include[1], variant).strip(), _COMMENT.sub("", text)
    )
