"""Migration 6: what it makes, by each way to it, and what it leaves to those who don't know it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    Instance,
    SchemaOutdatedError,
    StaleInstanceError,
    Status,
    migrations,
)
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.scripts import grants
from tests.support.catalog import assert_is_at, until_waiting
from tests.support.ecto import original
from tests.support.migrated import TABLE
from tests.support.migrated import start as started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.databases import Owner
    from tests.support.migrated import Link
    from tests.support.starting import Start

RUNNERS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull
    FROM pg_attribute
    WHERE attrelid = to_regclass($1 || '.workflow_runners') AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""
KEY = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass($1 || '.workflow_runners') AND contype = 'p'
"""
# As HephaestusEcto writes, which knows the columns of version 3 only.
UPSERT = f"""
    INSERT INTO {TABLE} (id, workflow, status, workflow_version, state, inserted_at, updated_at)
    VALUES ($1, 'Elixir.Order', $2, 1, '{{"n": 1}}', now(), now())
    ON CONFLICT (id) DO UPDATE SET workflow = EXCLUDED.workflow, status = EXCLUDED.status,
        workflow_version = EXCLUDED.workflow_version, state = EXCLUDED.state,
        updated_at = EXCLUDED.updated_at
"""


@pytest.mark.parametrize("way", ("plain", "online", "script"))
async def test_each_way_makes_the_same_table_of_runners(
    link: Link, dsn: str, schema: str, way: str
) -> None:
    if way == "script":
        await link.execute(migrations.sql("up", schema=schema))
    else:
        await migrations.up(dsn, schema=schema, online=way == "online")

    assert [tuple(row) for row in await link.fetch(RUNNERS, schema)] == [
        ("token", "uuid", True),
        ("name", "text", True),
        ("workflows", "text[]", True),
        ("started_at", "timestamp with time zone", True),
        ("expires_at", "timestamp with time zone", True),
    ]
    assert await link.fetchval(KEY, schema) == "PRIMARY KEY (token)"


@pytest.mark.parametrize("online", (False, True))
async def test_rows_of_before_are_nobodys_and_can_be_claimed(
    link: Link, database: str, *, online: bool
) -> None:
    await original(link, 3, "3")  # with one row that waits, and one that runs
    before = await link.fetch(f"SELECT ctid, xmin::text FROM {TABLE}")
    await migrations.up(database, online=online)
    assert await link.fetch(f"SELECT ctid, xmin::text FROM {TABLE}") == before

    async with (
        started(database) as storage,
        storage.runner(workflows=["Elixir.Order"]) as runner,
        await anext(runner.claims()) as held,
    ):
        assert held.id == "order::1"
        assert (await storage.update(replace(held, status=Status.COMPLETED))).runner is None


async def test_a_writer_that_knows_no_owners_leaves_them_and_is_seen(
    whole: str, link: Link
) -> None:
    async with started(whole) as storage, storage.runner(workflows=["Elixir.Order"]) as runner:
        await link.execute(UPSERT, "order::1", "pending")
        async with await anext(runner.claims()) as held:
            await link.execute(UPSERT, "order::1", "running")
            assert await link.fetchval(f"SELECT runner FROM {TABLE}") == runner.token
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(held, status=Status.COMPLETED))
            await storage.modify("order::1", lambda it: replace(it, status=Status.COMPLETED))
        assert await link.fetchval(f"SELECT runner FROM {TABLE}") is None


@pytest.mark.parametrize("online", (True, False))
@pytest.mark.parametrize("stage", (2, 3, 4, 5))
async def test_an_index_that_a_kill_left_invalid_is_built_again(
    link: Link, database: str, stage: int, *, online: bool
) -> None:
    await migrations.up(database, version=5)
    first, *builds = [text.replace("/* schema */", "") for _, text in shipped()[5].stages]
    await link.execute(first)
    other, holder = await asyncpg.connect(database), await asyncpg.connect(database)
    held = holder.transaction()
    await held.start()
    # A concurrent build waits for every writer of the table.
    await holder.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
    build = asyncio.create_task(other.execute(builds[stage - 2]))
    pid = await until_waiting(link, "CREATE INDEX CONCURRENTLY", "virtualxid")
    await link.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await build
    await held.rollback()
    await holder.close()
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert await link.fetchval(invalid) == 1

    await migrations.up(database, online=online)

    await assert_is_at(database, "public", migrations.LATEST)


@pytest.fixture
def role(owner: Owner, migrated: str) -> Iterator[str]:
    """The name, and the password, of a role that was granted what a storage needs."""
    name = f"{migrated}_app"
    try:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    except psycopg.errors.InsufficientPrivilege:
        pytest.skip("the tests' role may not create roles")
    owner.execute(grants(name, schema=migrated))
    yield name
    owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(dsn: str, role: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{role}@{host}").geturl()


async def test_the_grants_are_enough_for_a_runner(dsn: str, role: str, start: Start) -> None:
    async with (
        start(as_role(dsn, role)) as storage,
        storage.runner(workflows=["W"], lease=1) as runner,
    ):
        claim = await runner.insert(Instance("x", "W"))
        with pytest.raises(KeyError):
            async with claim:
                await asyncio.sleep(0.5)  # so that a heartbeat is sent
                raise KeyError
        assert await storage.release("x")
        async with await anext(runner.claims()) as held:
            [info] = await storage.runners()
            assert info.owned == 1
            await storage.update(replace(held, status=Status.COMPLETED))


async def test_without_a_right_to_the_table_of_runners_all_else_works(
    dsn: str, role: str, owner: Owner, migrated: str, start: Start
) -> None:
    owner.execute(f"REVOKE ALL ON {migrated}.workflow_runners FROM {role}")
    async with start(as_role(dsn, role)) as storage:
        held = await storage.put(Instance("x", "W"))
        await storage.update(replace(held, status=Status.RUNNING))
        with pytest.raises(AccessDeniedError, match="workflow_runners"):
            await storage.runner(workflows=["W"])
        with pytest.raises(AccessDeniedError, match="workflow_runners"):
            await storage.runners()


async def test_a_runner_whose_schema_is_taken_back_says_what_to_run(whole: str) -> None:
    async with started(whole) as storage:
        await storage.put(Instance("x", "W"))
        runner = await storage.runner(workflows=["W"], lease=60)
        await migrations.down(whole, version=5)
        for call in (anext(runner.claims()), runner.claim("x"), storage.runners()):
            with pytest.raises(SchemaOutdatedError, match=r"up --schema public"):
                await call
        with pytest.raises(SchemaOutdatedError, match=r"up --schema public"):
            await storage.runner(workflows=["W"])
        await migrations.up(whole)
        await runner.stop()
        async with storage.runner(workflows=["W"]) as again:
            assert (await anext(again.claims())).id == "x"
