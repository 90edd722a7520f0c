"""What holds for every statement, and how their texts are found and put together."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    Instance,
    InvalidValueError,
    _sql,
)

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage

pytestmark = pytest.mark.quick

# Whole statements, but for those of the migrations, which are their own test's.
PATHS = {path.stem: path for path in (_sql.root() / "queries").rglob("*.sql")}
WHOLE = sorted(name for name, path in PATHS.items() if path.parent.name != "fragments")
DRIVERS = sorted(
    name.partition("_")[2] for name in PATHS if name.startswith(("driver_", "contained_"))
)
QUERIES = [name for name in WHOLE if not name.startswith("migrations_")]
QUERIES += [
    *(
        f"{name}:{driver}"
        for name in QUERIES
        if PATHS[name].parent.name == "search" or name == "count_by"
        for driver in DRIVERS
    ),
    *(f"{name}:batched" for name in QUERIES if name.endswith("_many")),
    *("claim:batched", "take_over:distributed"),
    *(f"{name}:citus:batched" for name in QUERIES if name.endswith("_many")),
    *(f"insert_many:citus:batched:{gives_way}" for gives_way in ("always", "never")),
]


def text(name: str) -> str:
    """The statement as it is sent, without its comments."""
    return re.sub(r"--[^\n]*", "", sent(name, "tenant_a"))


def sent(name: str, schema: str) -> str:
    name, *variants = name.split(":")
    return _sql.statement(name, schema, *variants)


def test_a_text_is_split_into_its_statements() -> None:
    body = "DO $$\nBEGIN\n    PERFORM 1;\nEND\n$$;"
    assert _sql.split(f"-- One.\nSELECT 1;\n\n{body}\n\nSELECT ';',\n2") == [
        "-- One.\nSELECT 1;",
        body,
        "SELECT ';',\n2",
    ]
    assert _sql.split("SELECT 1;\n") == ["SELECT 1;"]
    assert _sql.split("\n") == []


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_names_its_columns_and_casts_its_parameters(name: str) -> None:
    statement = text(name)

    assert not re.search(r"(\bSELECT|\bRETURNING|,|\.)\s*\*", statement)
    assert re.findall(r"\$\d+(?!\d)(?!::)", statement) == []


# Those ask the catalog for the tables of all schemas.
@pytest.mark.parametrize("name", [name for name in QUERIES if not name.endswith("schemas")])
def test_a_statement_names_its_tables_with_their_schema(name: str) -> None:
    statement = text(name)

    assert "/*" not in statement
    assert re.findall(r'(?<!"tenant_a"\.)\bworkflow_instances\b', statement) == []


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_keeps_to_what_distributed_engines_run(name: str) -> None:
    statement = text(name).lower()
    update, _, _ = statement.partition("do update set")[2].partition("returning")

    assert "xmin" not in statement
    assert "trigger" not in statement
    assert not re.search(r"\w+_timestamp\(|now\(|clock", update)
    assert not re.search(r"\bcase\b((?!\bend\b).)*_timestamp\(", statement, re.DOTALL)
    assert not re.search(r"\bcoalesce\([^)]*_timestamp\(", statement)


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_is_one(name: str) -> None:
    assert ";" not in text(name)


SENT = {
    **{name: sent(name, "tenant_a") for name in (*QUERIES, *WHOLE)},
    **{
        path.stem: _sql.rendered(path.read_text(encoding="utf-8"), "tenant_a")
        for folder in ("migrations", "profiles", "repairs", "testing")
        for path in (_sql.root() / folder).glob("*.sql")
    },
}


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_begins_with_its_verb(name: str) -> None:
    """Tracing tools name a statement by its first word."""
    assert re.match(r"[A-Z]+\b", SENT[name])
    assert not re.search(r"^\s*--", SENT[name], re.MULTILINE)


async def test_what_the_server_sees_of_each_verb_begins_with_its_verb(
    storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    seen: list[str] = []
    async with pool.acquire() as connection:
        with connection.query_logger(lambda record: seen.append(record.query)):
            verbs = storage.using(connection)
            held = await verbs.put(await verbs.insert(Instance("x", "W")))
            await verbs.put_many([await verbs.update(held)])
            await verbs.get_many(["x"])
            await verbs.query(contains={"current_step": "x"})
            await verbs.query(limit=1, order_by="inserted_at")
            await verbs.delete("x")
            await verbs.delete_many(["x"])
            await verbs.prune(finished_before=datetime.now(UTC))
            assert await verbs.count() == 0
    assert len(seen) > 12
    assert {query.split()[0] for query in seen} <= {
        "SELECT", "INSERT", "UPDATE", "WITH", "DELETE", "BEGIN", "COMMIT"
    }  # fmt: skip


async def test_every_parameter_and_result_is_of_a_type_whose_codec_nobody_changes(
    storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    for name in QUERIES:
        if name.endswith(":initial"):
            continue  # its column is not there
        if name == "shards":
            continue  # Citus has that table
        async with pool.acquire() as connection:
            prepared = await connection.prepare(sent(name, storage.schema))
            taken = {parameter.name for parameter in prepared.get_parameters()}
            given = {attribute.type.name for attribute in prepared.get_attributes()}
        assert taken <= {"text", "text[]"}, name
        assert given <= {"text", "oid"}, name


@pytest.mark.parametrize("path", sorted(_sql.root().rglob("*.sql")), ids=lambda path: path.name)
def test_a_file_is_plain_ascii(path: Path) -> None:
    """A character that a database's encoding does not have makes even a comment an error."""
    assert path.read_bytes().isascii()


def test_a_schema_that_would_need_quoting_never_becomes_sql() -> None:
    for schema in ("a b", "A", 'a"', "a;--", "", "1", "x" * 64, "a\n"):
        with pytest.raises(InvalidValueError):
            _sql.statement("get", schema)


def test_a_schema_that_is_the_member_of_an_enum_of_texts_is_its_text() -> None:
    tenant = Enum("Tenant", {"ACME": "sql_of_acme"}, type=str)  # type: ignore[misc]

    assert _sql.statement("get", tenant.ACME) == _sql.statement("get", "sql_of_acme")
    assert '"sql_of_acme".workflow_instances' in _sql.statement("get", "sql_of_acme")


def test_the_folder_is_the_checkouts_or_the_wheels() -> None:
    assert (_sql.root() / "queries" / "single" / "get.sql").is_file()
    assert _sql.root().parent in {
        Path(_sql.__file__).resolve().parent,
        Path(_sql.__file__).resolve().parent.parent,
    }
