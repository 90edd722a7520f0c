"""What users of other libraries reported of their servers: settings, limits, changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    Names,
    OperationTimeoutError,
    RejectedError,
    StaleInstanceError,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Pool as AnyPool

    from tests.support.starting import Start

    Pool = AnyPool[Any]


def new(id: str, **context: Any) -> Instance:
    return Instance.new("Order", context, id=id)


async def together(calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls, return_exceptions=True))


class TestSessions:
    async def test_a_role_of_few_connections_serves_many_callers(
        self, dsn: str, migrated: str, pool: Pool, start: Start
    ) -> None:
        """ForbesLindesay/atdatabases#201, PostHog/posthog#64631: too many connections for role."""
        role = f"role_{uuid4().hex[:12]}"
        await pool.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 2;"
            f"GRANT USAGE ON SCHEMA {migrated} TO {role};"
            f"GRANT ALL ON ALL TABLES IN SCHEMA {migrated} TO {role}"
        )
        at = urlsplit(dsn)
        limited = at._replace(netloc=f"{role}:x@{at.netloc.rpartition('@')[2]}").geturl()
        try:
            async with start(limited, batching=False) as storage:
                results = await together(storage.put(new(f"{n}")) for n in range(60))
            assert {type(each) for each in results} == {Instance}
        finally:
            await pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    async def test_statements_that_a_session_forgot_are_prepared_again(
        self, dsn: str, start: Start
    ) -> None:
        """MagicStack/asyncpg#121, psycopg/psycopg#1408, oven-sh/bun#35120: DEALLOCATE ALL.

        Every later call on the connection failed for ever.
        """
        own = await asyncpg.connect(dsn)
        async with start(max_size=1) as storage:
            await storage.put(new("a"))
            async with storage.transaction() as tx:
                await tx.connection.execute("DEALLOCATE ALL")
            assert (await storage.put(new("a"))).revision is not None
            mine = storage.using(own)
            await mine.get("a")
            await own.execute("DEALLOCATE ALL")
            with pytest.raises(RejectedError, match="pgbouncer=True") as caught:
                await mine.get("a")
            assert caught.value.applied == "no"
        await own.close()

    async def test_a_call_beside_its_own_transaction_says_what_it_waited_for(
        self, start: Start
    ) -> None:
        """procrastinate-org/procrastinate#1116 and #1435: "couldn't get a connection", and why not.

        Each of the pool's connections is in a transaction, whose block waits for another one.
        """
        async with start(max_size=1) as storage, storage.transaction() as tx:
            with pytest.raises(OperationTimeoutError, match="use its own verbs") as caught:
                await storage.get("a", timeout=0.1)
            assert caught.value.applied == "no"
            assert await tx.get("a") is None

    @pytest.mark.parametrize("batching", (True, False))
    async def test_a_call_for_a_row_that_its_own_transaction_holds_says_so(
        self, start: Start, pool: Pool, *, batching: bool
    ) -> None:
        """The same with a connection to spare: a block whose end it waits for waits for it.

        Of that wait the server knows one half.
        """
        async with start(batching=batching) as storage:
            held = await storage.put(new("a"))
            calls = (
                storage.put,
                storage.update,
                lambda it, **given: storage.put_many([it], **given),
            )
            async with storage.transaction() as tx:
                await tx.put(held)
                for call in calls:
                    with pytest.raises(OperationTimeoutError, match="use its own verbs"):
                        await call(held, timeout=0.2)
            async with pool.acquire() as own, own.transaction():
                await storage.using(own).put(held)
                with pytest.raises(OperationTimeoutError) as caught:
                    await storage.put(held, timeout=0.2)
                assert "use its own verbs" not in str(caught.value)

    async def test_sessions_that_the_server_ends_while_idle_cost_nothing(
        self, start: Start, migrated: str, pool: Pool
    ) -> None:
        """procrastinate-org/procrastinate#1335: a worker stuck on one closed connection."""
        settings = {"idle_session_timeout": "20ms", "application_name": migrated}
        async with start(server_settings=settings) as storage:
            for n in range(3):
                await together(storage.put(new(f"{n}{k}")) for k in range(5))
                async with asyncio.timeout(30):
                    while await pool.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
                        migrated,
                    ):
                        await asyncio.sleep(0.01)
            assert await storage.count() == 15

    @pytest.mark.parametrize("isolation", ("serializable", "repeatable read"))
    @pytest.mark.parametrize("batching", (True, False))
    async def test_a_roles_isolation_level_loses_no_update(
        self, start: Start, *, isolation: str, batching: bool
    ) -> None:
        """dbos-inc/dbos-transact-py#679, aio-libs/aiopg#699: serialization failures for good."""
        settings = {"default_transaction_isolation": isolation}
        async with start(server_settings=settings, batching=batching) as storage:
            await storage.put(new("counter", n=0))

            async def count(name: str) -> None:
                await storage.put_many([new("shared"), new(name)])
                while True:
                    held = await storage.get("counter")
                    assert held is not None
                    more = Context(initial={"n": held.context.initial["n"] + 1})
                    try:
                        await storage.update(replace(held, context=more))
                    except StaleInstanceError:
                        continue
                    break
                await storage.put(new("shared"))
                assert await storage.delete(name)

            await asyncio.gather(*[count(f"mine{n}") for n in range(12)])
            counter = await storage.get("counter")
            assert counter is not None
            assert dict(counter.context.initial) == {"n": 12}
            assert await storage.count() == 2

    @pytest.mark.parametrize(
        ("name", "value"),
        (
            ("standard_conforming_strings", "off"),
            ("backslash_quote", "off"),
            ("search_path", ""),
            ("client_min_messages", "debug5"),
            ("default_transaction_deferrable", "on"),
            ("DateStyle", "SQL, DMY"),
            ("TimeZone", "Asia/Kathmandu"),
            ("extra_float_digits", "-15"),
            ("transform_null_equals", "on"),
            ("array_nulls", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("session_replication_role", "replica"),
            ("lock_timeout", "1ms"),
            ("work_mem", "64kB"),
            ("row_security", "off"),
            ("quote_all_identifiers", "on"),
        ),
    )
    async def test_a_roles_settings_change_neither_migrations_nor_verbs(
        self, dsn: str, schema: str, name: str, value: str
    ) -> None:
        """MagicStack/asyncpg#458 and many more: what a role or a database is set to."""
        settings = {name: value}
        own = await asyncpg.connect(dsn, server_settings=settings)
        await migrations.up(connection=own, schema=schema)
        await migrations.down(connection=own, schema=schema, version=3)
        await migrations.up(connection=own, schema=schema)
        await own.close()
        async with AsyncStorage.start(
            dsn, name=schema, schema=schema, references=Names(), server_settings=settings
        ) as storage:
            given = [new(f"{n}", s="\\ ' \" é", f=0.1, none=None) for n in range(20)]
            stored = await asyncio.gather(*map(storage.put, given))
            assert await asyncio.gather(*[storage.get(each.id) for each in given]) == stored
            one = await storage.update(stored[0])
            assert abs(datetime.now(UTC) - one.updated_at) < timedelta(minutes=5)  # type: ignore[operator]
            context = {"context": {"initial": {"s": "\\ ' \" é", "f": 0.1}}}
            assert len(await storage.query(contains=context, workflow_family="Ord")) == 20
            page = await storage.query(order_by="inserted_at", limit=15)
            after = storage.cursor(page[-1], order_by="inserted_at")
            assert len(await storage.query(order_by="inserted_at", after=after)) == 5
            assert await storage.delete_many(["0", "1"]) == {"0", "1"}
            future = datetime.now(UTC) + timedelta(days=1)
            assert await storage.prune(finished_before=future) == 0
            assert await storage.count(updated_before=future) == 18


class TestChangesUnderLoad:
    @pytest.fixture
    async def load(self, start: Start) -> AsyncIterator[set[str]]:
        """Callers at work all the while, and the errors that they met, which there must not be."""
        errors: set[str] = set()
        done = asyncio.Event()

        async def caller(storage: AsyncStorage, n: int) -> None:
            turn = 0
            while not done.is_set():
                turn += 1
                try:
                    held = await storage.put(new(f"{(n * 7 + turn) % 40}"))
                    await storage.update(held)
                    await storage.get(held.id)
                    await storage.query(id=held.id)
                except StaleInstanceError:
                    pass
                except Exception as error:  # noqa: BLE001
                    errors.add(repr(error))

        async with start() as storage, asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(caller(storage, n))
            yield errors
            done.set()
        assert errors == set()

    async def test_what_an_owner_does_to_the_table_is_no_error(
        self, load: set[str], migrated: str, pool: Pool
    ) -> None:
        """MagicStack/asyncpg#458, jasync-sql/jasync-sql#303: a cached plan, an altered table."""
        table = f"{migrated}.workflow_instances"
        for statement in (
            f"VACUUM FULL {table}",
            f"CLUSTER {table} USING workflow_instances_pkey",
            f"REINDEX TABLE CONCURRENTLY {table}",
            f"ALTER TABLE {table} SET UNLOGGED",
            f"ALTER TABLE {table} ADD note text, ADD tenant text DEFAULT 'x' NOT NULL",
            f"ALTER TABLE {table} DROP COLUMN note",
            f"ALTER TABLE {table} ALTER id TYPE text, ALTER workflow_version TYPE bigint",
            f"ALTER TABLE {table} RENAME CONSTRAINT workflow_instances_pkey TO instances_key",
            f"ALTER TABLE {table} REPLICA IDENTITY FULL",
        ):
            await pool.execute(statement)
            assert load == set()

    async def test_a_lock_that_is_held_for_a_while_costs_time_only(
        self, load: set[str], migrated: str, pool: Pool
    ) -> None:
        """rwlove/home-ops#11747: a table that a maintenance job has locked."""
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {migrated}.workflow_instances")
            async with asyncio.timeout(30):
                while not await pool.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass",
                    f"{migrated}.workflow_instances",
                ):
                    await asyncio.sleep(0.01)
        assert load == set()
