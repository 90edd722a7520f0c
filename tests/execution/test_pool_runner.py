"""Work on connections of a pool: what is tried again, and what each try costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    DatabaseError,
    Instance,
    OperationTimeoutError,
    RejectedError,
)
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.execution import connection_executor, kept, pool_runner
from hephaestus_pg.execution.connections import PoolConnections
from hephaestus_pg.execution.pinned import PinnedConnection
from hephaestus_pg.execution.pool_runner import PoolRunner
from hephaestus_pg.execution.statements import statements_of

if TYPE_CHECKING:
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


def order(n: int, **context: Any) -> Instance:
    return Instance.new("Order", context, id=f"order::{n}")


@pytest.mark.parametrize("statement", ("DEALLOCATE ALL", "DISCARD PLANS; DEALLOCATE ALL"))
@pytest.mark.parametrize("batching", (True, False))
async def test_a_session_that_forgot_its_statements_costs_nobody_anything(
    start: Start, statement: str, batching: bool
) -> None:
    async with start(batching=batching, max_size=1) as storage:
        await storage.put(order(1))
        async with storage.transaction() as tx:
            await tx.get("order::1")
            await tx.connection.execute(statement)
        assert await storage.get("order::1") is not None
        async with storage.transaction() as tx:
            await tx.connection.execute(statement)
        assert (await storage.put(order(1))).revision


async def test_a_pool_whose_reset_forgets_all(dsn: str, start: Start) -> None:
    class Forgetful(asyncpg.Connection):
        def get_reset_query(self) -> str:
            return "DISCARD ALL"

    async with (
        asyncpg.create_pool(dsn, min_size=0, max_size=2, connection_class=Forgetful) as theirs,
        start(pool=theirs) as storage,
    ):
        for n in range(4):
            await storage.put(order(n))
        assert await storage.count() == 4


@pytest.mark.usefixtures("kept")
async def test_what_failed_is_not_kept(two: Pool) -> None:
    """Before the next try there may be a pause of seconds."""
    runner = PoolRunner(PoolConnections(two), statements_of("public"), "public")
    pinned_connection = PinnedConnection(two)

    async def run(statement: str) -> None:
        deadline = asyncio.get_running_loop().time() + 60
        await runner.run(
            deadline,
            "read",
            lambda connection: connection.fetchval(statement),
            kind="read",
            source=pinned_connection,
        )

    await run("SELECT 1")
    assert two.get_idle_size() == 0
    with pytest.raises(DatabaseError, match="division by zero"):
        await run("SELECT 1 / 0")
    assert two.get_idle_size() == 1


@pytest.fixture
def faults(small: AsyncStorage, faults_of: FaultsOf) -> Faults:
    return faults_of(small)


async def test_an_earlier_try_that_may_have_been_applied_is_not_forgotten(
    small: AsyncStorage, faults: Faults
) -> None:
    faults.break_connection("put")
    faults.refuse("put", error=RejectedError("refused", applied="no", retryable=False))
    with pytest.raises(RejectedError) as caught:
        await small.put(order(1))
    assert caught.value.applied == "unknown"


async def test_what_is_safe_twice_is_tried_until_the_deadline(
    small: AsyncStorage, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.lose_answer(times=3)
    stored = await small.put(order(1))
    assert stored == await small.get(stored.id)
    assert caplog.text.count("put in schema") == 1
    assert caplog.text.count("terminate_backend in schema") == 1  # of two

    faults.break_connection(times=10_000)
    # The deadline may come between two tries, or in the middle of one.
    with pytest.raises((ConnectionLostError, OperationTimeoutError)):
        await small.get(stored.id, timeout=0.3)
    assert caplog.text.count("get in schema") == 1  # of many
    faults.clear()


async def test_a_write_asks_now_and_then_who_listens_and_each_in_a_transaction(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    async def sent(connection: Any, text: str, arguments: Any) -> Any:
        if "INSERT INTO" in text:
            asked.append("workflow_runners" in text)
        return await fetch_rows(connection, text, arguments)

    for module in (connection_executor, pool_runner):
        monkeypatch.setattr(module, "fetch_rows", sent)
    monkeypatch.setattr(pool_runner, "ASK_SECONDS", 3600.0)
    for n in range(3):
        await storage.put(order(n))
    async with storage.transaction() as transaction:
        await transaction.put(order(3))
        await transaction.put(order(4))
    monkeypatch.setattr(storage._pool_executor._runner, "_ask_at", 0.0)
    await storage.put(order(5))
    assert asked == [True, False, False, True, True, True]


async def test_a_call_sets_no_timer_of_its_own(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    real = loop.call_at

    def call_at(when: float, *given: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return real(when, *given, **options)

    async def call(n: int) -> None:
        await storage.put(order(n))
        assert await storage.get(f"order::{n}") is not None

    monkeypatch.setattr(kept, "KEEP_SECONDS", 600)
    monkeypatch.setattr(pool_runner, "ASK_SECONDS", 3600.0)
    async with start(max_size=1) as storage:
        for n in range(2):
            await call(n)  # asyncpg sets one for each statement that it prepares
        monkeypatch.setattr(loop, "call_at", call_at)
        for n in range(20):
            await call(n)
        assert not timers
