"""Pools whose connections carry something of their caller's, and hooks that fail."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    HookError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Names,
)
from hephaestus_pg.batching.keyed import KEPT
from hephaestus_pg.driver.hooks import HOOKS, hooks_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Pool = asyncpg.Pool[asyncpg.Record]

tenant: ContextVar[str] = ContextVar("tenant")

TENANTS = ("acme", "globex", "initech")


async def become(connection: Any) -> None:
    """The usual hook of row-level security: the session is the tenant's for whom it is taken."""
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


class TestSessionsOfTheirCallers:
    async def test_a_pool_that_sets_the_tenant_shares_no_statement(
        self, dsn: str, migrated: str, role: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="hephaestus_pg")
        async with (
            opened(dsn, role, setup=become) as theirs,
            AsyncStorage.start(
                pool=theirs, name=migrated, schema=migrated, references=Names()
            ) as storage,
        ):
            await all_at_once(storage)
        assert "share no statements, since its pool has hooks (setup)" in caplog.text

    async def test_a_setup_given_to_a_pool_of_our_own_is_theirs_alone_too(
        self, dsn: str, migrated: str, role: str
    ) -> None:
        async with AsyncStorage.start(
            dsn,
            name=migrated,
            schema=migrated,
            references=Names(),
            setup=become,
            server_settings={"role": role},
        ) as storage:
            await all_at_once(storage)

    @pytest.mark.parametrize("own", (True, False), ids=("our pool", "their pool"))
    async def test_who_may_share_says_batch_by(
        self, dsn: str, migrated: str, role: str, own: bool
    ) -> None:
        """The same, gathered: calls of one tenant share statements, and those of two never do."""
        statements: list[str] = []

        async def counting(connection: Any) -> None:
            await become(connection)
            statements.append(tenant.get())

        options: dict[str, Any] = {"setup": counting}
        async with opened(dsn, role, **options) as theirs:
            given: dict[str, Any] = (
                {"dsn": dsn, "server_settings": {"role": role}, **options}
                if own
                else {"pool": theirs}
            )
            tenant.set("acme")
            async with AsyncStorage.start(
                **given,
                name=migrated,
                schema=migrated,
                references=Names(),
                batch_by=lambda: tenant.get(""),
            ) as storage:
                await all_at_once(storage)
                statements.clear()
                puts = [Instance.new("Order", {}, id=f"more::{n}") for n in range(100)]
                await asyncio.gather(*map(storage.put, puts))
                assert len(statements) < 50

    async def test_what_a_tenant_set_is_gone_for_who_sets_nothing(
        self, dsn: str, migrated: str
    ) -> None:
        async def only_if_any(connection: Any) -> None:
            if name := tenant.get(""):
                await connection.execute("SELECT set_config('app.tenant', $1, false)", name)

        async with AsyncStorage.start(
            dsn, name=migrated, schema=migrated, references=Names(), setup=only_if_any, max_size=1
        ) as storage:
            await as_tenant("acme", storage.count)
            tenant.set("")
            async with storage.transaction() as tx:
                seen = await tx.connection.fetchval("SELECT current_setting('app.tenant', true)")
        assert seen in {"", None}

    @pytest.mark.parametrize(
        ("statement", "look", "clear"),
        (
            ("SET app.tenant = 'acme'", "SELECT current_setting('app.tenant', true)", {"", None}),
            ("SET search_path = pg_catalog", "SHOW search_path", {'"$user", public'}),
            ("SET statement_timeout = '1ms'", "SHOW statement_timeout", {"27000ms", "27001ms"}),
            ("SET SESSION AUTHORIZATION DEFAULT; SET ROLE pg_monitor", "SHOW role", {"none"}),
            ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", {0}),
            (
                "SELECT pg_advisory_lock(1909)",
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1909",
                {0},
            ),
        ),
    )
    async def test_what_a_caller_left_in_a_session_is_gone(
        self, dsn: str, migrated: str, statement: str, look: str, clear: set[Any]
    ) -> None:
        async with AsyncStorage.start(
            dsn, name=migrated, schema=migrated, references=Names(), max_size=1
        ) as storage:
            async with storage.transaction() as tx:
                await tx.connection.execute(statement)
            async with storage.transaction() as tx:
                assert await tx.connection.fetchval(look) in clear

    async def test_a_password_is_asked_for_in_the_context_of_its_caller(
        self, dsn: str, migrated: str
    ) -> None:
        seen: list[str] = []

        def password() -> str:
            seen.append(tenant.get())
            return "secret"

        tenant.set("start")
        async with (
            AsyncStorage.start(
                dsn,
                name=migrated,
                schema=migrated,
                references=Names(),
                password=password,
                max_size=4,
            ) as storage,
            asyncio.TaskGroup() as group,
        ):
            for name in TENANTS:
                group.create_task(as_tenant(name, lambda: storage.get("order::1")))
        assert set(seen) <= {"start", *TENANTS}

    async def test_each_hook_of_a_pool_is_seen(self, dsn: str) -> None:
        create: Any = asyncpg.create_pool

        async def hook(*arguments: Any, **options: Any) -> Any:
            return await asyncpg.connect(*arguments, **options)

        class Own(asyncpg.Connection):
            pass

        for name in HOOKS:
            async with create(dsn, min_size=0, **{name: hook}) as pool:
                assert hooks_of(pool) == [name]
        async with asyncpg.create_pool(dsn, min_size=0, connection_class=Own) as pool:
            assert hooks_of(pool) == ["connection_class"]
        async with asyncpg.create_pool(dsn, min_size=0) as pool:
            assert hooks_of(pool) == []

    async def test_a_pool_of_a_class_of_its_own_shares_nothing(
        self, pool: Pool, migrated: str
    ) -> None:
        class Tenants:
            """Stands before a pool, as those do that pick one by tenant."""

            def __getattr__(self, name: str) -> Any:
                return getattr(pool, name)

        assert "Tenants" in hooks_of(Tenants())  # type: ignore[arg-type]
        async with AsyncStorage.start(
            pool=Tenants(),  # type: ignore[arg-type]
            name=migrated,
            schema=migrated,
            references=Names(),
        ) as storage:
            await storage.put(Instance.new("Order", {}, id="order::1"))
            assert (await storage.stats()).batch_sizes == {}

    async def test_keys_that_come_and_go_leave_nothing(self, dsn: str, migrated: str) -> None:
        keys = iter(range(10 * KEPT))
        async with AsyncStorage.start(
            dsn,
            name=migrated,
            schema=migrated,
            references=Names(),
            batch_by=lambda: next(keys),
        ) as storage:
            for _ in range(3 * KEPT):
                await storage.get("order::1")
            kept: Any = storage._pool._batcher
            assert len(kept.batchers) <= KEPT

    @pytest.mark.parametrize("given", (5, "tenant", become))
    async def test_a_batch_by_that_is_no_plain_function_is_refused(self, given: Any) -> None:
        with pytest.raises(InvalidTypeError, match="batch_by"):
            AsyncStorage.start("postgresql://", batch_by=given)

    async def test_a_batch_by_without_batching_is_refused(self) -> None:
        with pytest.raises(InvalidValueError, match="batch_by"):
            AsyncStorage.start("postgresql://", batch_by=lambda: 1, batching=False)

    async def test_a_batch_by_that_fails_or_cannot_be_compared_is_said_to(
        self, dsn: str, migrated: str
    ) -> None:
        values: list[Any] = [KeyError("no tenant"), [1], "acme"]

        def batch_by() -> Any:
            value = values.pop(0)
            if isinstance(value, Exception):
                raise value
            return value

        async with AsyncStorage.start(
            dsn, name=migrated, schema=migrated, references=Names(), batch_by=batch_by
        ) as storage:
            with pytest.raises(HookError, match="batch_by raised KeyError"):
                await storage.get("order::1")
            with pytest.raises(InvalidTypeError, match="batch_by"):
                await storage.get("order::1")
            assert await storage.get("order::1") is None


class Stubborn(Exception):  # noqa: N818 - a user's own
    """One that cannot be copied: its constructor needs what ``args`` do not have."""

    def __init__(self, *, reason: str) -> None:
        super().__init__()
        self.reason = reason


FAILURES = (
    Stubborn(reason="no"),
    ValueError("no"),
    TypeError("no"),
    KeyError("no"),
    IndexError("no"),
    RuntimeError("no"),
    LookupError("no"),
    StopIteration("no"),
    asyncio.CancelledError(),
    asyncpg.UndefinedObjectError("no such role"),
)


class Failing:
    """A hook that fails when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: BaseException | None = None

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        if self.name == "connect":
            return await asyncpg.connect(*arguments, **options)
        return "secret" if self.name == "password" else None


async def started(dsn: str, schema: str, hook: Failing, **options: Any) -> AsyncStorage:
    hooks: dict[str, Any] = {hook.name: hook}
    return await AsyncStorage.start(
        dsn,
        name=schema,
        schema=schema,
        references=Names(),
        max_size=2,
        timeout=30,
        **hooks,
        **options,
    )


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("batch_by", (None, lambda: 0), ids=("single", "gathered"))
@pytest.mark.parametrize("name", ("connect", "init", "setup", "password"))
async def test_an_error_of_a_hook_is_each_callers_with_its_cause(
    dsn: str, migrated: str, name: str, batch_by: Any, failure: BaseException
) -> None:
    hook = Failing(name)
    storage = await started(dsn, migrated, hook, batch_by=batch_by)
    await storage._pool._pool.expire_connections()
    hook.error = failure
    calls = [storage.put(Instance.new("Order", {}, id=f"order::{n}")) for n in range(20)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    for error in errors:
        assert isinstance(error, HookError), error
        assert error.hook == name
        assert error.applied == "no"
        # An exception that ends an iterator cannot leave a coroutine as it is.
        assert isinstance(error.__cause__, (type(failure), RuntimeError))
    with pytest.raises(HookError):
        async with storage.transaction():
            pass
    with pytest.raises(HookError):
        await storage.count()

    hook.error = None
    for n in range(20):
        assert (await storage.put(Instance.new("Order", {}, id=f"order::{n}"))).revision
    await storage.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
async def test_a_reset_that_fails_costs_its_connection_and_no_result(
    dsn: str, migrated: str, failure: BaseException
) -> None:
    hook = Failing("reset")
    storage = await started(dsn, migrated, hook)
    hook.error = failure
    for n in range(5):
        assert (await storage.put(Instance.new("Order", {}, id=f"order::{n}"))).revision
    assert await storage.count() == 5
    hook.error = None
    await asyncio.gather(*[storage.get(f"order::{n}") for n in range(20)])
    await storage.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("batch_by", (None, lambda: 0), ids=("single", "gathered"))
async def test_a_hook_of_a_pool_of_theirs_that_fails(
    dsn: str, migrated: str, batch_by: Any, failure: BaseException
) -> None:
    hook = Failing("setup")
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2, setup=hook) as theirs:
        storage = await AsyncStorage.start(
            pool=theirs, name=migrated, schema=migrated, references=Names(), batch_by=batch_by
        )
        hook.error = failure
        calls = [storage.put(Instance.new("Order", {}, id=f"order::{n}")) for n in range(20)]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, DatabaseError), error
            assert error.__cause__ is not None
        hook.error = None
        assert (await storage.put(Instance.new("Order", {}, id="order::1"))).revision
        await storage.close()


async def test_a_start_whose_hook_fails_names_it(dsn: str, migrated: str) -> None:
    for name in ("connect", "init", "setup", "password"):
        hook = Failing(name)
        hook.error = ValueError("no")
        with pytest.raises(HookError, match=f"{name} raised ValueError") as caught:
            await started(dsn, migrated, hook)
        assert isinstance(caught.value.__cause__, ValueError)


async def test_a_service_of_passwords_that_is_away_for_a_moment_costs_time_alone(
    dsn: str, migrated: str
) -> None:
    hook = Failing("password")
    storage = await started(dsn, migrated, hook)
    await storage._pool._pool.expire_connections()
    hook.error = ConnectionRefusedError("no service")
    call = asyncio.create_task(storage.get("order::1"))
    while not call.done() and not hook.error.__traceback__:
        await asyncio.sleep(0)
    hook.error = None
    assert await call is None
    await storage.close()


async def test_hooks_may_be_plain_functions(dsn: str, migrated: str) -> None:
    seen: list[Any] = []
    async with AsyncStorage.start(
        dsn, name=migrated, schema=migrated, references=Names(), init=seen.append
    ) as storage:
        await storage.count()
    assert seen


@pytest.mark.parametrize("name", ("connect", "init", "setup", "reset"))
async def test_a_hook_that_is_no_function_is_refused(dsn: str, migrated: str, name: str) -> None:
    options: dict[str, Any] = {name: "SET ROLE x"}
    with pytest.raises(InvalidTypeError, match=name):
        await AsyncStorage.start(dsn, name=migrated, schema=migrated, **options)
