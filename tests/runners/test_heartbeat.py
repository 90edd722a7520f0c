"""A runner lives as long as its heartbeats arrive, and knows when they don't."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from dataclasses import replace
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    ClaimLostError,
    Instance,
    Names,
    RunnerEndedError,
    StaleInstanceError,
    Status,
    UnavailableError,
)
from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.runners import heartbeat, ownership
from tests.support.lag import happens
from tests.support.proxied import through

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Claim, Runner
    from tests.chaos.proxy import Proxy
    from tests.runners.conftest import Table
    from tests.support.starting import Start

pytestmark = pytest.mark.once

LEASE = 1.5

tenant: ContextVar[str] = ContextVar("tenant")


async def held(runner: Runner) -> Claim:
    claim = await runner.claim("x")
    assert claim is not None
    return claim


@pytest.fixture
async def far(storage: AsyncStorage, start: Start, dsn: str, proxy: Proxy) -> AsyncStorage:
    """A storage whose way to the server may break, with one instance."""
    await storage.insert(Instance("x", "Order"))
    return await start(through(dsn, proxy.port), timeout=5)


async def test_a_runner_outlives_its_lease_and_says_so(storage: AsyncStorage) -> None:
    await storage.insert(Instance("x", "Order"))
    async with (
        storage.runner(workflows=["Order", "A"], name="worker-7", lease=1) as runner,
        await held(runner) as instance,
    ):
        await asyncio.sleep(2.5)
        [info] = await storage.runners()
        assert (info.token, info.name, info.workflows) == (
            runner.token,
            "worker-7",
            ("A", "Order"),
        )
        assert info.owned == 1
        assert info.started_at < info.expires_at
        await storage.update(replace(instance, status=Status.COMPLETED))
    assert await storage.runners() == []


async def test_a_handler_that_blocks_the_loop_for_longer_than_the_lease_keeps_its_claim(
    storage: AsyncStorage, start: Start
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with (
        storage.runner(workflows=["Order"], lease=1) as runner,
        await held(runner) as instance,
    ):
        time.sleep(3)  # noqa: ASYNC251 - that is the fault
        await storage.update(replace(instance, status=Status.COMPLETED))


async def test_a_pool_that_is_used_up_for_longer_than_the_lease_costs_no_claim(
    storage: AsyncStorage, start: Start
) -> None:
    other = await start(max_size=1)
    await storage.insert(Instance("x", "Order"))
    async with other.runner(workflows=["Order"], lease=1) as runner:
        claim = await held(runner)
        async with claim as instance:
            async with other.transaction() as transaction:
                await transaction.connection.execute("SELECT pg_sleep(2.5)")
            await other.update(replace(instance, status=Status.COMPLETED))


async def test_a_lease_counts_from_when_its_heartbeat_was_sent(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[float] = []

    async def late(*arguments: Any) -> Any:
        rows = await fetch_rows(*arguments)
        await asyncio.sleep(0.1)
        answered.append(heartbeat.now())
        return rows

    monkeypatch.setattr(heartbeat, "fetch_rows", late)
    async with storage.runner(workflows=["Order"], lease=1) as runner:
        for beats in (2, 3, 4):
            while len(answered) < beats:
                await asyncio.sleep(0.005)
            assert runner._heartbeat.last_sent <= answered[-1] - 0.1


async def test_a_loop_that_does_not_answer_for_max_stall_is_dead(storage: AsyncStorage) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=60, max_stall=1) as runner:
        with pytest.raises(ClaimLostError, match="event loop has not answered for 1 s"):
            async with await held(runner):
                until = time.monotonic() + 30
                while runner.is_alive and time.monotonic() < until:
                    time.sleep(0.01)  # noqa: ASYNC251 - that is the fault
                assert not runner.is_alive  # before the loop comes to hear of it
                await asyncio.sleep(10)
        with pytest.raises(RunnerEndedError, match="has not answered"):
            await anext(runner.claims())


async def test_a_loop_that_answers_lives_though_max_stall_is_shorter_than_a_pause_was(
    storage: AsyncStorage, table: Table
) -> None:
    async with storage.runner(workflows=["Order"], lease=60, max_stall=1) as runner:
        for _ in range(6):  # more than max_stall, in less than the quarter of the lease
            await table.beat(runner.token)
        assert runner.is_alive


async def test_a_server_that_is_gone_for_longer_than_the_lease_ends_the_claims_before_it_does(
    far: AsyncStorage, storage: AsyncStorage, proxy: Proxy, table: Table
) -> None:
    async with far.runner(workflows=["Order"], lease=LEASE) as runner:
        with pytest.raises(ClaimLostError, match="no heartbeat reached the server") as caught:
            async with await held(runner) as instance:
                proxy.lose()
                began = time.monotonic()
                await asyncio.sleep(60)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert time.monotonic() - began < LEASE + 1
        proxy.heal()
        with pytest.raises(RunnerEndedError, match="'worker'|cannot be revived"):
            await runner.claim("x")
        with pytest.raises(RunnerEndedError):
            await anext(runner.claims())
        async with storage.runner(workflows=["Order"], lease=60) as other:
            async with asyncio.timeout(10):
                claim = await anext(other.claims())
            assert claim.id == "x"
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(instance, status=Status.FAILED))


async def test_a_connection_that_breaks_costs_nothing(far: AsyncStorage, proxy: Proxy) -> None:
    async with (
        far.runner(workflows=["Order"], lease=LEASE) as runner,
        await held(runner) as instance,
    ):
        for _ in range(4):
            proxy.drop(proxy.paths)
            await asyncio.sleep(LEASE / 3)
        await far.update(replace(instance, status=Status.COMPLETED))


async def test_the_row_of_a_runner_that_expired_is_never_prolonged(
    storage: AsyncStorage, table: Table
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=LEASE) as runner:
        with pytest.raises(ClaimLostError, match="lease had ended before the server heard of it"):
            async with await held(runner):
                await table.expire(runner.token)
                await asyncio.sleep(60)
        assert await storage.runners() == []


async def test_a_thread_that_ends_ends_its_runner(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=LEASE) as runner:
        with pytest.raises(ClaimLostError, match="no heartbeat reached the server"):
            async with await held(runner):

                async def broken(*_: Any) -> None:
                    raise KeyError

                monkeypatch.setattr(runner._heartbeat, "_beat", broken)
                await asyncio.sleep(60)
    assert "has failed" in caplog.text


async def test_a_machine_that_slept_is_dead_by_its_own_clock(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=60) as runner:
        claim = await held(runner)
        real = heartbeat.now
        monkeypatch.setattr(heartbeat, "now", lambda: real() + 3600)
        with pytest.raises(ClaimLostError, match="no heartbeat reached the server"):
            async with claim:
                pass


async def test_a_runner_that_cannot_reach_the_server_does_not_start(
    far: AsyncStorage, proxy: Proxy, dsn: str
) -> None:
    await proxy.__aexit__()
    with pytest.raises(UnavailableError):
        async with far.runner(workflows=["Order"], lease=LEASE):
            pass
    await happens(lambda: not far._runners)


async def test_a_pool_of_the_users_gives_the_heartbeat_its_way(start: Start, pool: Any) -> None:
    storage = await start(pool=pool, references=Names())
    await storage.insert(Instance("x", "Order"))
    async with (
        storage.runner(workflows=["Order"], lease=1) as runner,
        await held(runner) as instance,
    ):
        await asyncio.sleep(1.5)
        await storage.update(replace(instance, status=Status.COMPLETED))


@pytest.mark.parametrize("error", (KeyError, asyncio.CancelledError, OSError))
async def test_a_hook_of_a_users_pool_that_fails_when_it_connects_again_costs_nothing(
    start: Start, table: Table, pool: Any, dsn: str, error: type[BaseException]
) -> None:
    fails = asyncio.Event()
    loop = asyncio.get_running_loop()
    may_fail = False

    def password() -> str:
        if may_fail and current_thread() is not main_thread() and not fails.is_set():
            loop.call_soon_threadsafe(fails.set)
            raise error
        return "any"

    async with (
        asyncpg.create_pool(dsn, min_size=1, password=password) as theirs,
        start(pool=theirs) as storage,
        storage.runner(workflows=["Order"], lease=LEASE) as runner,
    ):
        await table.beat(runner.token)
        may_fail = True
        await pool.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE query LIKE 'UPDATE "' || $1 || '".workflow_runners%'
            """,
            storage.schema,
        )
        await fails.wait()
        await table.beat(runner.token)
        assert runner.is_alive


async def test_a_password_function_reads_the_context_of_who_starts_the_runner(
    start: Start, table: Table
) -> None:
    tenant.set("theirs")
    storage = await start(password=tenant.get)
    async with storage.runner(workflows=["Order"]) as runner:
        assert runner.is_alive


async def test_who_waits_no_longer_for_a_runner_ends_its_heartbeat_on_its_way(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def connect(_: object) -> Any:
        loop.call_soon_threadsafe(connecting.set)
        await asyncio.Event().wait()

    monkeypatch.setattr(ownership, "connect_beside", connect)
    monkeypatch.setattr(heartbeat, "REGISTER_SECONDS", 3600.0)
    starting = asyncio.create_task(a_runner(storage))
    await connecting.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def a_runner(storage: AsyncStorage) -> Runner:
    return await storage.runner(workflows=["Order"])


async def test_a_connection_whose_init_fails_is_closed(dsn: str) -> None:
    opened: list[Any] = []

    async def refuse(connection: Any) -> None:
        opened.append(connection)
        raise KeyError

    async with asyncpg.create_pool(dsn, min_size=0, init=refuse) as own:
        with pytest.raises(KeyError):
            await connect_beside(own)
    assert opened[0].is_closed()
