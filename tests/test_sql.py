"""What holds for every statement, and how their texts are found and put together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hephaestus_pg import InvalidValueError, _sql

# Whole statements, but for those of the migrations, which are their own test's.
FRAGMENTS = {
    "columns",
    "columns_initial",
    "contained",
    "contained_initial",
    "matching",
    "patience",
    "patience_gathered",
}
QUERIES = sorted(
    name
    for path in (_sql.root() / "queries").glob("*.sql")
    if not (name := path.stem).startswith("migrations_") and name not in FRAGMENTS
)
QUERIES += [
    *(f"{name}:initial" for name in QUERIES if name in {"count", "query"} or "page" in name),
    *(f"{name}:gathered" for name in QUERIES if name.endswith("_many")),
]


def text(name: str) -> str:
    """The statement as it is sent, without its comments."""
    return re.sub(r"--[^\n]*", "", _sql.statement(name, "tenant_a"))


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_names_its_columns_and_casts_its_parameters(name: str) -> None:
    statement = text(name)

    assert "*" not in statement.replace("count(*)", "")
    assert re.findall(r"\$\d+(?!\d)(?!::)", statement) == []


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_names_its_tables_with_their_schema(name: str) -> None:
    statement = text(name)

    assert "/*" not in statement
    assert re.findall(r'(?<!"tenant_a"\.)\bworkflow_instances\b', statement) == []


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_keeps_to_what_distributed_engines_run(name: str) -> None:
    statement = text(name).lower()
    _, _, update = statement.partition("do update set")

    assert "xmin" not in statement
    assert "trigger" not in statement
    assert not re.search(r"\w+_timestamp\(|now\(|clock", update)


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_is_one(name: str) -> None:
    assert ";" not in text(name)


@pytest.mark.parametrize("path", sorted(_sql.root().rglob("*.sql")), ids=lambda path: path.name)
def test_a_file_is_plain_ascii(path: Path) -> None:
    """A character that a database's encoding does not have makes even a comment an error."""
    assert path.read_bytes().isascii()


def test_a_schema_that_would_need_quoting_never_becomes_sql() -> None:
    for schema in ("a b", "A", 'a"', "a;--", "", "1", "x" * 64, "a\n"):
        with pytest.raises(InvalidValueError):
            _sql.statement("get", schema)


def test_the_folder_is_the_checkouts_or_the_wheels() -> None:
    assert (_sql.root() / "queries" / "get.sql").is_file()
    assert _sql.root().parent in {
        Path(_sql.__file__).resolve().parent,
        Path(_sql.__file__).resolve().parent.parent,
    }
