"""Calls whose connections carry their caller's tenant share no statements with others."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    HookError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
)
from hephaestus_pg.batching.admission import Limit
from hephaestus_pg.batching.batcher import Batcher
from hephaestus_pg.batching.keyed import MAX_IDLE, KeyedBatcher
from hephaestus_pg.driver.hooks import pool_hooks
from hephaestus_pg.execution.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


tenant: ContextVar[str] = ContextVar("tenant")


TENANTS = ("acme", "globex", "initech")


async def become(connection: Any) -> None:
    """The usual hook for row-level security: it names the caller's tenant in the session."""
    await connection.execute("SELECT set_config('app.tenant', $1, false)", tenant.get(""))


async def isolate(pool: Pool, schema: str) -> str:
    """Give each tenant its own rows, for a role that policies hold for."""
    role = f"app_{schema}"
    await pool.execute(f"""
        ALTER TABLE {schema}.workflow_instances
            ADD COLUMN tenant text NOT NULL DEFAULT current_setting('app.tenant', true);
        ALTER TABLE {schema}.workflow_instances ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON {schema}.workflow_instances
            USING (tenant = current_setting('app.tenant', true));
        CREATE ROLE {role};
        GRANT USAGE ON SCHEMA {schema} TO {role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.workflow_instances TO {role};
        GRANT SELECT ON {schema}.hephaestus_pg_migrations TO {role};
    """)
    return role


@pytest.fixture
async def role(pool: Pool, migrated: str) -> AsyncIterator[str]:
    role = await isolate(pool, migrated)
    yield role
    await pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def opened(dsn: str, role: str, **options: Any) -> Any:
    return asyncpg.create_pool(
        dsn, min_size=0, max_size=4, server_settings={"role": role}, **options
    )


async def as_tenant(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
    tenant.set(name)
    return await work()


async def all_at_once(storage: AsyncStorage) -> None:
    """Each tenant writes and reads rows of its own, all of them at the same time."""

    async def one(name: str, n: int) -> None:
        id = f"{name}::{n}"
        await storage.put(Instance.new("Order", {"of": name}, id=id))
        found = await storage.get(id)
        assert found is not None
        assert found.context.initial == {"of": name}
        other = TENANTS[(TENANTS.index(name) + 1) % len(TENANTS)]
        assert await storage.get(f"{other}::{n}") is None
        assert await storage.delete(f"{other}::{n}") is False
        assert {each.context.initial["of"] for each in await storage.query()} == {name}

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            for name in TENANTS:
                group.create_task(as_tenant(name, lambda name=name, n=n: one(name, n)))  # type: ignore[misc]


async def test_a_pool_that_sets_the_tenant_shares_no_statement(
    dsn: str, start: Start, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hephaestus_pg")
    async with (
        opened(dsn, role, setup=become) as theirs,
        start(pool=theirs) as storage,
    ):
        await all_at_once(storage)
    assert "share no statements, since its pool has hooks (setup)" in caplog.text


async def test_a_setup_of_our_own_pool_shares_no_statement(start: Start, role: str) -> None:
    async with start(setup=become, server_settings={"role": role}) as storage:
        await all_at_once(storage)


@pytest.mark.parametrize("own", (True, False), ids=("our pool", "their pool"))
async def test_batch_by_decides_which_calls_share_a_statement(
    dsn: str, start: Start, role: str, own: bool
) -> None:
    """The same, batched: calls of one tenant share statements, and those of two never do."""
    statements: list[str] = []

    async def counting(connection: Any) -> None:
        await become(connection)
        statements.append(tenant.get())

    options: dict[str, Any] = {"setup": counting}
    async with opened(dsn, role, **options) as theirs:
        given: dict[str, Any] = (
            {"dsn": dsn, "server_settings": {"role": role}, **options} if own else {"pool": theirs}
        )
        tenant.set("acme")
        async with start(**given, batch_by=lambda: tenant.get("")) as storage:
            await all_at_once(storage)
            statements.clear()
            puts = [Instance.new("Order", {}, id=f"more::{n}") for n in range(100)]
            await asyncio.gather(*map(storage.put, puts))
            assert len(statements) < 50


async def test_a_tenants_setting_is_reset_for_a_caller_that_sets_none(start: Start) -> None:
    async def only_if_any(connection: Any) -> None:
        if name := tenant.get(""):
            await connection.execute("SELECT set_config('app.tenant', $1, false)", name)

    async with start(setup=only_if_any, max_size=1) as storage:
        await as_tenant("acme", storage.count)
        tenant.set("")
        async with storage.transaction() as tx:
            seen = await tx.connection.fetchval("SELECT current_setting('app.tenant', true)")
    assert seen in {"", None}


async def test_a_password_function_runs_in_the_context_of_its_caller(
    dsn: str, start: Start
) -> None:
    seen: list[str] = []

    def password() -> str:
        seen.append(tenant.get())
        return urlsplit(dsn).password or "of no use"

    tenant.set("start")
    async with (
        start(password=password, max_size=4) as storage,
        asyncio.TaskGroup() as group,
    ):
        for name in TENANTS:
            group.create_task(as_tenant(name, lambda: storage.get("order::1")))
    assert seen
    assert set(seen) <= {"start", *TENANTS}


async def test_a_pool_of_another_class_shares_no_statement(pool: Pool, start: Start) -> None:
    class Tenants:
        """Stands before a pool, like a router that picks one by tenant."""

        def __getattr__(self, name: str) -> Any:
            return getattr(pool, name)

    assert "Tenants" in pool_hooks(Tenants())  # type: ignore[arg-type]
    async with start(pool=Tenants()) as storage:
        await storage.put(Instance.new("Order", {}, id="order::1"))
        assert storage.process_stats().batch_sizes == {}


async def test_batchers_of_former_keys_are_dropped(start: Start) -> None:
    keys = iter(range(10 * MAX_IDLE))
    async with start(batch_by=lambda: next(keys)) as storage:
        for _ in range(3 * MAX_IDLE):
            await storage.get("order::1")
        assert storage.process_stats().batch_sizes == {1: 3 * MAX_IDLE}
        batcher: Any = storage._pool_executor._batcher
        assert len(batcher.batchers) <= MAX_IDLE


async def test_keys_share_the_limit_of_calls(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaestus_pg.execution.pool_executor.MAX_ADMITTED", 5)
    keys = iter(range(100))
    async with start(batch_by=lambda: next(keys) // 4) as storage:
        calls = [asyncio.ensure_future(storage.get(f"order::{n}")) for n in range(20)]
        await asyncio.sleep(0)
        stats = storage.process_stats()
        assert (stats.calls_queued, stats.calls_outside) == (5, 15)
        assert await asyncio.gather(*calls) == [None] * 20


async def test_a_key_whose_calls_wait_to_be_admitted_keeps_its_batcher() -> None:
    limit = Limit(1)
    turns: list[asyncio.Future[None]] = []

    async def run(*given: Any) -> Any:
        turns.append(asyncio.get_running_loop().create_future())
        await turns[-1]
        return []

    key = ["busy"]
    batcher = KeyedBatcher(lambda: Batcher(run, limit=limit), lambda _: key[0])
    later = asyncio.get_running_loop().time() + 60

    async def call(of: str) -> None:
        key[0] = of
        await batcher.row(later, statements_of("public").get, "order::1")

    calls = [asyncio.create_task(call(of)) for of in ("busy", "waiting")]
    await asyncio.sleep(0)
    waiting = batcher.batchers[1]
    calls += [asyncio.create_task(call(f"other {n}")) for n in range(MAX_IDLE)]
    await asyncio.sleep(0)
    assert waiting in batcher.batchers

    while not all(call.done() for call in calls):
        await asyncio.sleep(0)
        for turn in turns:
            if not turn.done():
                turn.set_result(None)


@pytest.mark.parametrize("given", (5, "tenant", become))
async def test_a_batch_by_must_be_a_plain_function(given: Any) -> None:
    with pytest.raises(InvalidTypeError, match="batch_by"):
        AsyncStorage.start("postgresql://", batch_by=given)


async def test_a_batch_by_without_batching_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="batch_by"):
        AsyncStorage.start("postgresql://", batch_by=lambda: 1, batching=False)


async def test_a_batch_by_that_fails_or_does_not_hash_is_named(start: Start) -> None:
    values: list[Any] = [KeyError("no tenant"), [1], "acme"]

    def batch_by() -> Any:
        value = values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    async with start(batch_by=batch_by) as storage:
        with pytest.raises(HookError, match="batch_by raised KeyError"):
            await storage.get("order::1")
        with pytest.raises(InvalidTypeError, match="batch_by"):
            await storage.get("order::1")
        assert await storage.get("order::1") is None
