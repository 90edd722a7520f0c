"""No pause, no clock and no outage makes two owners that can both write."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import ClaimLostError, RunnerEndedError, StaleInstanceError, Status
from tests.runners.conftest import next_claim, order
from tests.runners.processes import PAUSED, SET, Clock, said, tell, worker
from tests.support.lag import happens, within

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from hephaestus_pg import AsyncStorage, Claim
    from tests.runners.conftest import Table
    from tests.support.starting import Start

pytestmark = pytest.mark.once

HOURS = 5 * 3600


async def worked(claim: Claim) -> None:
    async with claim:
        await asyncio.sleep(60)


async def was_completed(storage: AsyncStorage, id: str = "x") -> bool:
    read = await storage.get(id)
    return read is not None and read.status is Status.COMPLETED


async def test_a_process_that_is_killed_loses_its_instance_to_another(
    storage: AsyncStorage, dsn: str, table: Table
) -> None:
    await storage.insert(order("x"))
    async with worker(dsn, storage.schema, 2) as process:
        assert await said(process) == "owns x"
        process.kill()
    async with storage.runner(workflows=["Order"], lease=2) as runner, within(2 + 2):
        assert (await next_claim(runner)).id == "x"
    assert (await table.row("x"))["attempts"] == 1


async def test_a_process_that_is_frozen_past_its_lease_writes_nothing_any_more(
    storage: AsyncStorage, dsn: str
) -> None:
    await storage.insert(order("x"))
    async with (
        worker(dsn, storage.schema, 1.5) as process,
        storage.runner(workflows=["Order"], lease=60, retry_after=lambda _: 0.0) as runner,
    ):
        assert await said(process) == "owns x"
        process.send_signal(signal.SIGSTOP)
        async with await next_claim(runner) as held:
            process.send_signal(signal.SIGCONT)
            assert await said(process) == "cancelled"
            assert await said(process) == "StaleInstanceError"
            assert await said(process) == "ClaimLostError"
            assert (await said(process)).startswith("ended: ")  # by whichever is first to see it
            await storage.update(replace(held, status=Status.COMPLETED))
    assert await was_completed(storage)


async def test_a_machine_that_was_paused_and_believes_in_its_lease_writes_nothing_any_more(
    storage: AsyncStorage, dsn: str, table: Table, tmp_path: Path
) -> None:
    await storage.insert(order("x"))
    clock = Clock(PAUSED, tmp_path / "off_by")
    async with worker(dsn, storage.schema, 3, clock) as process:
        assert await said(process) == "owns x"
        [before] = await storage.runners()
        async with storage.runner(
            workflows=["Order"], lease=60, retry_after=lambda _: 0.0
        ) as runner:
            await table.beat(before.token)  # so that it is some time until the next one
            process.send_signal(signal.SIGSTOP)
            paused = monotonic()
            async with await next_claim(runner) as held:
                tell(process)
                clock.is_off_by(monotonic() - paused)
                process.send_signal(signal.SIGCONT)
                assert await said(process) == "believes"
                assert await said(process) == "StaleInstanceError"
                assert await said(process) == "ClaimLostError"
                reason = "its lease had ended before the server heard of it"
                assert await said(process) == f"ended: {reason}"
                assert (await table.row("x"))["runner"] == runner.token
                await storage.update(replace(held, status=Status.COMPLETED))
    assert await was_completed(storage)


@pytest.mark.parametrize("hours", (HOURS, -HOURS))
async def test_a_wall_clock_of_a_runners_machine_that_jumps_changes_nothing(
    storage: AsyncStorage, dsn: str, table: Table, tmp_path: Path, hours: int
) -> None:
    await storage.insert(order("x"))
    clock = Clock(SET, tmp_path / "off_by")
    async with (
        worker(dsn, storage.schema, 1, clock) as process,
        storage.runner(workflows=["Order"], lease=60) as other,
    ):
        assert await said(process) == "owns x"
        info = next(each for each in await storage.runners() if each.name == "worker")
        clock.is_off_by(hours)
        waiting = asyncio.create_task(next_claim(other))
        for _ in range(8):  # two leases
            await table.beat(info.token)
        assert (await table.row("x"))["runner"] == info.token
        tell(process)
        assert await said(process) == "believes"
        assert await said(process) == "written"
        waiting.cancel()
    read = await storage.get("x")
    assert read is not None
    assert read.status is Status.FAILED


class Server:
    """A server whose clock somebody sets: all moments that it has stored are moved instead."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    async def set_clock(self, ahead: int) -> None:
        rows = f"{self._schema}.workflow_instances"
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(f"ALTER TABLE {rows} DISABLE TRIGGER USER")  # no write
            for table, moments in (
                (f"{self._schema}.workflow_runners", ("started_at", "expires_at")),
                (rows, ("due_at", "inserted_at", "updated_at")),
            ):
                moved = ", ".join(f"{each} = {each} - interval '{ahead} s'" for each in moments)
                await connection.execute(f"UPDATE {table} SET {moved}")
            await connection.execute(f"ALTER TABLE {rows} ENABLE TRIGGER USER")


@pytest.fixture
def server(pool: asyncpg.Pool[asyncpg.Record], storage: AsyncStorage) -> Server:
    return Server(pool, storage.schema)


async def test_a_clock_of_the_server_that_jumps_ahead_ends_leases_and_what_they_own_is_fenced(
    storage: AsyncStorage, start: Start, server: Server, table: Table
) -> None:
    other = await start()
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"], lease=2) as former:
        claim = await next_claim(former)
        lost = asyncio.create_task(worked(claim))
        await happens(lambda: claim.task)
        await server.set_clock(HOURS)
        async with (
            other.runner(workflows=["Order"], lease=60, retry_after=lambda _: 0.0) as runner,
            await next_claim(runner) as theirs,
        ):
            with pytest.raises(ClaimLostError):
                await lost
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(claim._instance, status=Status.FAILED))
            with pytest.raises(RunnerEndedError, match="had ended before the server heard of it"):
                await next_claim(former)
            await other.update(replace(theirs, status=Status.COMPLETED))
    assert await was_completed(storage)


async def test_a_clock_of_the_server_that_is_set_back_takes_nothing_from_who_lives(
    storage: AsyncStorage, start: Start, server: Server, table: Table
) -> None:
    other = await start()
    await storage.put_many([order("x"), order("y", Status.WAITING, due_at=None)])
    async with (
        storage.runner(workflows=["Order"], lease=2) as runner,
        other.runner(workflows=["Order"], lease=60) as second,
        await next_claim(runner) as mine,
    ):
        waiting = asyncio.create_task(next_claim(second))
        await server.set_clock(-HOURS)
        for _ in range(8):  # two leases
            await table.beat(runner.token)
        info = next(each for each in await storage.runners() if each.token == runner.token)
        assert (info.owned, waiting.done()) == (1, False)
        assert await table.lease_left(runner.token) <= 2
        await storage.update(replace(mine, status=Status.COMPLETED))
        waiting.cancel()
    assert await was_completed(storage)


async def test_a_successor_of_the_same_name_is_another(
    storage: AsyncStorage, start: Start, table: Table
) -> None:
    other = await start()
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"], name="worker-0", lease=60) as former:
        claim = await next_claim(former)
        await claim.__aenter__()
        await table.expire(former.token)
        async with (
            other.runner(
                workflows=["Order"], name="worker-0", lease=30, retry_after=lambda _: 0.0
            ) as successor,
            await next_claim(successor) as theirs,
        ):
            executor = storage._pool_executor
            with executor.operation("beat", None, None) as deadline:
                beat = executor.statements.beat
                assert await executor.fetch(deadline, beat, str(former.token), "3600") == []
            assert await table.lease_left(successor.token) <= 30
            with pytest.raises(ClaimLostError):
                await claim.__aexit__(None, None, None)
            assert (await table.row("x"))["runner"] == successor.token
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(claim._instance, status=Status.FAILED))
            await other.update(replace(theirs, status=Status.COMPLETED))
    assert await was_completed(storage)


async def test_one_that_starts_or_stops_takes_nothing_from_a_namesake(
    storage: AsyncStorage, start: Start, table: Table
) -> None:
    other = await start()
    await storage.insert(order("x"))
    async with (
        storage.runner(workflows=["Order"], name="worker-0", lease=60) as runner,
        await next_claim(runner) as mine,
    ):
        async with other.runner(workflows=["Order"], name="worker-0", lease=60) as namesake:
            waiting = asyncio.create_task(next_claim(namesake))
            await happens(lambda: namesake._claiming._takeover.looks)
            assert (await table.row("x"))["runner"] == runner.token
            waiting.cancel()
        assert (await table.row("x"))["runner"] == runner.token
        await storage.update(replace(mine, status=Status.COMPLETED))


async def test_a_zombies_update_is_refused_whatever_its_clock_says(
    storage: AsyncStorage, start: Start, table: Table
) -> None:
    other = await start()
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"], lease=60) as zombie:
        with pytest.raises(ClaimLostError):
            async with await next_claim(zombie) as mine:
                await table.expire(zombie.token)
                async with (
                    other.runner(workflows=["Order"], retry_after=lambda _: 0.0) as runner,
                    await next_claim(runner) as theirs,
                ):
                    with pytest.raises(StaleInstanceError):
                        await storage.update(replace(mine, status=Status.FAILED))
                    await other.update(replace(theirs, status=Status.COMPLETED))
                await asyncio.sleep(60)
