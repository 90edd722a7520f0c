"""Hooks are found, and their errors are the callers' own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    DatabaseError,
    HookError,
    Instance,
    InvalidTypeError,
    RejectedError,
)
from hephaestus_pg.driver.hooks import HOOKS, pool_hooks
from tests.support.faults import pool_of

if TYPE_CHECKING:
    from tests.support.starting import Start


async def test_each_hook_of_a_pool_is_seen(dsn: str) -> None:
    create: Any = asyncpg.create_pool

    async def hook(*arguments: Any, **options: Any) -> Any:
        return await asyncpg.connect(*arguments, **options)

    class Own(asyncpg.Connection):
        pass

    for name in HOOKS:
        async with create(dsn, min_size=0, **{name: hook}) as pool:
            assert pool_hooks(pool) == [name]
    async with asyncpg.create_pool(dsn, min_size=0, connection_class=Own) as pool:
        assert pool_hooks(pool) == ["connection_class"]
    async with asyncpg.create_pool(dsn, min_size=0) as pool:
        assert pool_hooks(pool) == []


class Stubborn(Exception):  # noqa: N818 - a user's own
    """An error that cannot be copied: its constructor needs more than its ``args`` hold."""

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


CALLS = 8
"""So many that some share a statement, and most wait for one of two connections."""


class Failing:
    """A hook that fails when it is told to; as ``password`` it gives that of the ``dsn``."""

    def __init__(self, name: str, dsn: str = "") -> None:
        self.name = name
        self.password = urlsplit(dsn).password or "of no use"
        self.error: BaseException | None = None

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        if self.name == "connect":
            return await asyncpg.connect(*arguments, **options)
        return self.password if self.name == "password" else None


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("batch_by", (None, lambda: 0), ids=("single", "batched"))
@pytest.mark.parametrize("name", ("connect", "init", "setup", "password"))
async def test_each_caller_gets_a_hooks_error_with_its_cause(
    dsn: str, start: Start, name: str, batch_by: Any, failure: BaseException
) -> None:
    hook = Failing(name, dsn)
    storage = await start(**{name: hook}, max_size=2, batch_by=batch_by)
    await pool_of(storage).expire_connections()
    hook.error = failure
    calls = [storage.put(Instance.new("Order", {}, id=f"order::{n}")) for n in range(CALLS)]
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
    for n in range(CALLS):
        assert (await storage.put(Instance.new("Order", {}, id=f"order::{n}"))).revision
    await storage.close()


@pytest.mark.parametrize("batch_by", (None, lambda: 0), ids=("single", "batched"))
async def test_a_setup_that_leaves_a_transaction_open_is_refused_before_anything_is_lost(
    start: Start, batch_by: Any
) -> None:
    begins = False

    async def setup(connection: Any) -> None:
        if begins:
            await connection.execute("BEGIN; SET LOCAL app.tenant = 'a'")

    storage = await start(setup=setup, max_size=2, batch_by=batch_by)
    begins = True
    calls = [storage.put(Instance.new("Order", {}, id=f"order::{n}")) for n in range(CALLS)]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, RejectedError), error
        assert error.applied == "no"
        assert "SET LOCAL" in str(error)
    with pytest.raises(RejectedError, match="SET LOCAL"):
        async with storage.transaction():
            pass
    begins = False
    assert await storage.count() == 0
    await storage.put(Instance.new("Order", {}, id="order::1"))
    await storage.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
async def test_a_reset_that_fails_costs_its_connection_and_no_result(
    start: Start, failure: BaseException
) -> None:
    hook = Failing("reset")
    storage = await start(reset=hook, max_size=2)
    hook.error = failure
    for n in range(5):
        assert (await storage.put(Instance.new("Order", {}, id=f"order::{n}"))).revision
    assert await storage.count() == 5
    hook.error = None
    await asyncio.gather(*[storage.get(f"order::{n}") for n in range(CALLS)])
    await storage.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("batch_by", (None, lambda: 0), ids=("single", "batched"))
async def test_a_failing_hook_of_a_users_pool_is_an_error_of_ours(
    dsn: str, start: Start, batch_by: Any, failure: BaseException
) -> None:
    hook = Failing("setup")
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2, setup=hook) as theirs:
        storage = await start(pool=theirs, batch_by=batch_by)
        hook.error = failure
        calls = [storage.put(Instance.new("Order", {}, id=f"order::{n}")) for n in range(CALLS)]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, DatabaseError), error
            assert error.__cause__ is not None
        hook.error = None
        assert (await storage.put(Instance.new("Order", {}, id="order::1"))).revision
        await storage.close()


async def test_a_start_whose_hook_fails_names_it(start: Start) -> None:
    for name in ("connect", "init", "setup", "password"):
        hook = Failing(name)
        hook.error = ValueError("no")
        with pytest.raises(HookError, match=f"{name} raised ValueError") as caught:
            await start(**{name: hook})
        assert isinstance(caught.value.__cause__, ValueError)


async def test_a_password_service_that_is_away_for_a_moment_only_costs_time(
    dsn: str, start: Start
) -> None:
    hook = Failing("password", dsn)
    storage = await start(password=hook, max_size=2)
    await pool_of(storage).expire_connections()
    hook.error = ConnectionRefusedError("no service")
    call = asyncio.create_task(storage.get("order::1"))
    while not call.done() and not hook.error.__traceback__:
        await asyncio.sleep(0)
    hook.error = None
    assert await call is None
    await storage.close()


async def test_hooks_may_be_plain_functions(start: Start) -> None:
    seen: list[Any] = []
    async with start(init=seen.append) as storage:
        await storage.count()
    assert seen


@pytest.mark.parametrize("name", ("connect", "init", "setup", "reset"))
async def test_a_hook_that_is_no_function_is_refused(start: Start, name: str) -> None:
    options: dict[str, Any] = {name: "SET ROLE x"}
    with pytest.raises(InvalidTypeError, match=name):
        await start(**options)
