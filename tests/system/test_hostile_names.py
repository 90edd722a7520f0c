"""Names and values that were made to be taken for SQL, by a role that may only use the table."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from inspect import isawaitable, signature
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    Context,
    ExecutionEntry,
    HephaestusError,
    Instance,
    InvalidValueError,
    LoadedClasses,
    NamedClasses,
    Names,
    UnknownReferenceError,
    business_key,
    migrate,
    migrations,
)
from hephaestus_pg.migrations.scripts import grants
from hephaestus_pg.verbs.filters import Filters
from hephaestus_pg.verbs.pruning import Verbs
from hephaestus_pg.verbs.single import InstanceVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.starting import Start

# Stands in every hostile text, so that any of it is found in a statement.
MARK = "pwned"

CORPUS = (
    "pwned'; DROP TABLE {other}.workflow_instances; --",
    'pwned"; DROP TABLE {other}.workflow_instances; --',
    "pwned' OR '1'='1",
    "pwned%' OR id LIKE '%",
    "pwned\\'; DELETE FROM {other}.workflow_instances; --",
    "pwned'); DELETE FROM {other}.workflow_instances; COMMIT; --",
    "pwned$1, $2::text; SELECT pg_sleep(60)",
    "pwned$$; SELECT pg_sleep(60); $$",
    "pwned%s %(x)s {x} ${x}",
    "pwned/* schema */ /* include: delete */",
    "pwned*/ SELECT 1 /*",
    "pwned\n; ROLLBACK; DROP SCHEMA {other} CASCADE;",
    'pwned"."{other}"."workflow_instances',
    "pwned, {other}.workflow_instances",
    "pwned\u02bc; DROP TABLE {other}.workflow_instances; \u2010\u2010",
    "pwned\u2028'; SELECT 1; --\u202e",
    "{other}.workflow_instances--pwned",
    "{other}.pwned",
)


@pytest.fixture
def role(dsn: str, migrated: str, other: str) -> Iterator[str]:
    """The DSN of a role that was granted what ``migrate sql --grants`` prints, and nothing else."""
    name, password = f"role_{uuid4().hex[:12]}", uuid4().hex
    with psycopg.connect(dsn, autocommit=True) as owner:
        try:
            owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the tests' role may not create roles")
        for schema in (migrated, other):
            owner.execute(grants(name, schema=schema).encode())
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    yield parts._replace(netloc=f"{name}:{password}@{host}").geturl()
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[str]:
    """The schema of another tenant, whom the role may serve too."""
    name = f"other_{uuid4().hex[:12]}"
    await migrations.up(dsn, schema=name)
    yield name
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"DROP SCHEMA {name} CASCADE".encode())


@pytest.fixture
def sent() -> list[str]:
    """The text of every statement that the storage has sent."""
    return []


@pytest.fixture
async def tenant(role: str, start: Start, sent: list[str]) -> AsyncIterator[AsyncStorage]:
    """A storage under a hostile name, which tells what it sends."""

    async def listen(connection: asyncpg.Connection[Any]) -> None:
        connection.add_query_logger(lambda query: sent.append(query.query))

    async with start(role, name=CORPUS[0], init=listen, timeout=10) as storage:
        yield storage


def cursor(**place: Any) -> str:
    return urlsafe_b64encode(json.dumps(place).encode()).decode()


def uses(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Every argument of every verb with ``text`` in its place, beside what else the verb needs."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hostile = Instance(
        text,
        text,
        current_step=text,
        context=Context({text: {text: [text]}}, {text: {text: text}}),
        step_configs={text: {text: text}},
        active_steps=frozenset({text}),
        completed_steps=frozenset({text}),
        runtime_metadata={text: text},
        execution_history=(ExecutionEntry(step_ref=text, event=text, timestamp=now),),
    )
    stored = replace(hostile, revision=1)
    place = {"order_by": "id", "moment": None, "id": "x"}
    needed: dict[str, dict[str, Any]] = {
        "put": {"instance": hostile},
        "get": {"id": text},
        "update": {"instance": stored},
        "insert": {"instance": hostile},
        "put_many": {"instances": [hostile, replace(hostile, id=f"{text}2")]},
        "get_many": {"ids": [text]},
        "query": {},
        "stream": {},
        "count": {},
        "cursor": {"instance": hostile},
        "prune": {"finished_before": now},
        "delete_many": {"ids": [text, f"{text}2"]},
        "delete": {"id": text},
    }
    return [
        *needed.items(),
        *((verb, {**given, name: text}) for verb, given in needed.items() for name in given),
        *(
            (verb, {**given, name: text})
            for verb, given in needed.items()
            for name in arguments_of(verb) - given.keys()
        ),
        *(
            (verb, given)
            for verb in ("query", "stream", "count")
            for given in (
                {"status_in": [text]},
                {"contains": {"runtime_metadata": {text: text}}},
                {"contains": {text: text}},
                {"contains": {text: {}}, "allow_scan": text},
                {text: text},
            )
        ),
        ("update", {"instance": replace(hostile, revision=2)}),
        ("insert", {"instance": stored, "replace_finished": True}),
        ("query", {"after": cursor(**{**place, "id": text})}),
        ("query", {"after": cursor(**{**place, "order_by": text})}),
        (
            "query",
            {
                "order_by": "updated_at",
                "after": cursor(**{**place, "order_by": "updated_at", "moment": text}),
            },
        ),
        *needed.items(),  # so that the last of them deletes what was stored
    ]


def arguments_of(verb: str) -> set[str]:
    """The names of the arguments that a verb takes, each filter for one."""
    parameters = signature(getattr(AsyncStorage, verb)).parameters
    names = set(parameters) - {"self", "filters"}
    return names | set(Filters.__annotations__) if "filters" in parameters else names


async def use(storage: AsyncStorage, verb: str, arguments: dict[str, Any]) -> Any:
    result = getattr(storage, verb)(**arguments)
    if verb == "stream":
        return [instance async for instance in result]
    return await result if isawaitable(result) else result


def test_there_is_a_use_of_every_argument_of_every_verb() -> None:
    verbs = {
        name
        for cls in (Verbs, InstanceVerbs)
        for name, value in vars(cls).items()
        if not name.startswith("_") and not isinstance(value, property)
    }
    wanted = {(verb, name) for verb in verbs for name in arguments_of(verb)}

    assert ("prune", "batch_size") in wanted
    assert {
        (verb, name)
        for verb, arguments in uses(MARK)
        for name, value in arguments.items()
        if MARK in repr(value)
    } >= wanted


async def rows(dsn: str, schema: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(f"SELECT * FROM {schema}.workflow_instances ORDER BY id")
    finally:
        await connection.close()


async def test_no_argument_becomes_sql_or_reaches_another_tenant(
    dsn: str, tenant: AsyncStorage, other: str, sent: list[str]
) -> None:
    texts = [pattern.replace("{other}", other) for pattern in CORPUS]
    secret = Instance("secret", "Secret", context=Context({"secret": "theirs"}))
    async with AsyncStorage.start(dsn, name="other", schema=other, references=Names()) as theirs:
        await theirs.put_many([secret, *(replace(secret, id=text) for text in texts)])
    before = await rows(dsn, other)
    mine = await tenant.put(Instance("mine", "Mine"))

    for text in texts:
        sent.clear()
        for verb, arguments in uses(text):
            try:
                answer = await use(tenant, verb, arguments)
            except HephaestusError:
                continue
            assert "theirs" not in repr(answer)
        assert len(sent) > 10
        assert not [statement for statement in sent if MARK in statement or other in statement]
        assert await rows(dsn, other) == before
        assert await tenant.query() == [mine]


async def test_a_hostile_id_and_state_are_kept_as_they_are(tenant: AsyncStorage) -> None:
    for text in CORPUS:
        hostile = Instance(text, text, context=Context({text: {text: [text]}}))
        stored = await tenant.insert(hostile)

        assert stored == hostile == await tenant.get(text)
        assert await tenant.query(workflow_family=text) == [hostile]
        assert await tenant.query(contains={"context": {"initial": {text: {text: [text]}}}}) == [
            hostile
        ]
        assert await tenant.delete(text, revision=stored.revision)


@pytest.mark.parametrize("text", (*CORPUS, "Public", "a-b", "a b", "é", "", "1a", "a" * 64, "a\0"))
async def test_a_schema_or_role_that_is_no_plain_identifier_is_refused(dsn: str, text: str) -> None:
    with pytest.raises(InvalidValueError):
        await AsyncStorage.start(dsn, schema=text)
    works: list[Any] = [migrations.up, migrations.status, migrations.migrated_version]
    for work in works:
        with pytest.raises(InvalidValueError):
            await work(dsn, schema=text)
    with pytest.raises(InvalidValueError):
        migrations.sql("up", schema=text)
    with pytest.raises(InvalidValueError):
        grants(text)
    with pytest.raises(InvalidValueError):
        grants("role", schema=text)


@pytest.mark.parametrize("text", CORPUS)
def test_a_hostile_business_key_or_class_is_refused(text: str) -> None:
    for key, value in ((text, "1"), ("order", text)):
        with pytest.raises(InvalidValueError):
            business_key.build(key, value)
        with pytest.raises(InvalidValueError):
            business_key.build_unique(key, value)
    for references in (LoadedClasses(), NamedClasses({"Known": Instance})):
        with pytest.raises(UnknownReferenceError):
            references.to_reference(text)


async def test_the_role_may_use_the_table_and_nothing_else(
    tenant: AsyncStorage, migrated: str, other: str, dsn: str, role: str
) -> None:
    async with tenant.transaction() as transaction:
        await transaction.put(Instance("x", "W"))
    assert await tenant.migrated_version() == migrations.LATEST
    for statement in (
        f"CREATE TABLE {migrated}.mine (id int)",
        f"TRUNCATE {migrated}.workflow_instances",
        f"DELETE FROM {migrated}.hephaestus_pg_migrations",
        f"DROP TABLE {other}.workflow_instances",
    ):
        with suppress(asyncpg.InsufficientPrivilegeError):
            async with tenant.transaction() as transaction:
                await transaction.connection.execute(statement)
            pytest.fail(statement)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {other} FROM {urlsplit(role).username}".encode()
        )
    with pytest.raises(AccessDeniedError):
        await AsyncStorage.start(role, name="other", schema=other, references=Names())
    with pytest.raises(AccessDeniedError):
        await migrations.down(role, schema=migrated, version=0)


def test_the_command_prints_the_grants(capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate.main(["sql", "--grants", "app", "--schema", "tenant_a"]) == 0
    assert capsys.readouterr().out == grants("app", schema="tenant_a")
    assert migrate.main(["sql", "--grants", 'app"; DROP TABLE x; --']) == 2
    assert capsys.readouterr().err.startswith("error: role is ")
