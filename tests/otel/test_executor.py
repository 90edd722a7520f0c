"""Executors that report."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance
from tests.support.lag import happens

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from tests.otel.recorded import given

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.otel.recorded import Recorded
    from tests.support.starting import Start


async def test_a_pool_of_the_users_own_is_reported_too(
    start: Start, recorded: Recorded, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with start(pool=pool, telemetry=recorded.telemetry) as storage:
        await storage.put(Instance.new("Orders", {}, id="a"))
    [statement] = recorded.statements("put")
    assert given(statement)["db.namespace"].endswith(f"|{storage.schema}")


async def test_verbs_on_a_callers_connection_are_reported_too(
    storage: AsyncStorage, recorded: Recorded, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with pool.acquire() as connection:
        await storage.using(connection).put(Instance.new("Orders", {}, id="a"))
    [call], [statement] = recorded.calls("put"), recorded.statements("put")
    assert statement.parent == call.context


@pytest.mark.parametrize("time", ("wait_time", "use_time"))
async def test_a_transaction_waits_for_a_connection_and_uses_it(
    storage: AsyncStorage, recorded: Recorded, time: str
) -> None:
    recorded.points(f"db.client.connection.{time}")
    await happens(lambda: recorded.statements("backlog"))  # the reading has the table looked at
    [before] = recorded.points(f"db.client.connection.{time}")
    async with storage.transaction():
        pass
    [after] = recorded.points(f"db.client.connection.{time}")
    assert after.count == before.count + 1


async def test_calls_that_batch_by_lets_share_do_so_in_a_statement_of_its_own_trace(
    start: Start, recorded: Recorded
) -> None:
    async with start(telemetry=recorded.telemetry, batch_by=lambda: "all") as storage:
        recorded.forget()
        with recorded.tracer.start_as_current_span("request"):
            puts = [storage.put(Instance.new("Orders", {}, id=f"a{i}")) for i in range(4)]
            await asyncio.gather(*puts)
    [batch] = recorded.statements("BATCH put")
    assert batch.parent is None
    assert len(batch.links) == 3  # the first one goes at once
