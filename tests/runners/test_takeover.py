"""What the dead owned goes to others, after a failed attempt, and never back to the dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import ConflictError
from hephaestus_pg.runners.takeover import Takeover
from tests.runners.conftest import OTHER, next_claim, order
from tests.support.lag import happens

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.runners.conftest import Table
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


async def test_what_a_dead_runner_owns_is_taken_over_after_an_attempt(
    start: Start, table: Table, storage: AsyncStorage
) -> None:
    other = await start()
    ids = ["a", "timer", "waits", "done"]
    await storage.put_many(map(order, ids))
    dead = await other.runner(workflows=["Order"], name="dead")
    held = {claim.id: claim for claim in [await next_claim(dead) for _ in ids]}
    zombie = await storage.get("a")
    # As HephaestusEcto writes, which leaves the runner.
    await table.set("timer", "status = 'waiting', due_at = now() - interval '1 hour'")
    await table.set("waits", "status = 'waiting'")
    await table.set("done", "status = 'completed'")
    await table.expire(dead.token)
    assert set(held) == set(ids)
    async with storage.runner(workflows=["Order"], name="alive", lease=60) as runner:
        claims = [await next_claim(runner), await next_claim(runner)]
        assert {claim.id for claim in claims} == {"a", "timer"}
        rows = {id: await table.row(id) for id in ids}
        assert {id: row["attempts"] for id, row in rows.items()} == {
            "a": 1,
            "timer": 1,
            "waits": 0,
            "done": 0,
        }
        assert rows["waits"]["runner"] is rows["done"]["runner"] is None
        assert rows["waits"]["due"] is None
        assert zombie is not None
        assert rows["a"]["revision"] > (zombie.revision or 0)
        assert {each.name for each in await storage.runners()} == {"alive"}


async def test_the_next_claim_waits_for_the_longer_of_lease_and_backoff(
    start: Start, table: Table, storage: AsyncStorage
) -> None:
    await storage.insert(order("a"))
    other = await start()
    dead = await other.runner(workflows=["Order"], name="dead")
    await next_claim(dead)
    await table.expire(dead.token)
    async with storage.runner(workflows=["Order"], lease=50, retry_after=lambda _: 250.0) as runner:
        task = asyncio.create_task(next_claim(runner))
        await happens(lambda: runner._claiming._takeover.looks)
        row = await table.row("a")
        assert (row["runner"], row["attempts"]) == (None, 1)
        assert 150 < row["due"] <= 200
        task.cancel()


async def test_who_takes_over_what_it_does_not_run_lets_it_be_tried_again(
    start: Start, table: Table, storage: AsyncStorage
) -> None:
    await storage.put_many([order("a"), order("own", workflow="Payment")])
    other = await start()
    dead = await other.runner(workflows=["Order", "Payment"], name="dead")
    for _ in range(2):
        await next_claim(dead)
    await table.expire(dead.token)
    async with storage.runner(workflows=["Payment"], max_attempts=1) as runner:
        task = asyncio.create_task(next_claim(runner))
        await happens(lambda: runner._claiming._takeover.looks)
        task.cancel()
    rows = {id: await table.row(id) for id in ("a", "own")}
    assert [row["runner"] for row in rows.values()] == [None, None]
    assert [row["attempts"] for row in rows.values()] == [1, 1]
    assert rows["own"]["due"] == float("inf")
    assert rows["a"]["due"] <= 2


async def test_a_runner_without_a_row_is_dead(
    start: Start, table: Table, storage: AsyncStorage
) -> None:
    await storage.insert(order("a"))
    await table.set("a", f"runner = '{OTHER}'")
    async with storage.runner(workflows=["Order"], lease=60) as runner:
        assert (await next_claim(runner)).id == "a"
        assert (await table.row("a"))["attempts"] == 1


async def test_a_dead_runner_claims_nothing_though_its_row_is_still_there(
    storage: AsyncStorage, table: Table, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(_: Takeover) -> None:
        """Leaves the dead in peace."""

    monkeypatch.setattr(Takeover, "look", look)
    await storage.put_many(map(order, "abc"))
    async with storage.runner(workflows=["Order"], lease=3600) as runner:
        await table.expire(runner.token)
        assert await asyncio.gather(*map(runner.claim, "abc")) == [None] * 3
        waiting = asyncio.create_task(next_claim(runner))
        before = len(faults.tried)
        await happens(lambda: waiting.done() or faults.tried[before:].count("claim") > 1)
        assert not waiting.done()
        waiting.cancel()
    assert [each.runner for each in await storage.query()] == [None] * 3


async def test_an_instance_that_kills_each_of_its_runners_is_given_to_nobody_in_the_end(
    storage: AsyncStorage, table: Table
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(
        workflows=["Order"], max_attempts=3, lease=60, retry_after=lambda _: 0.0
    ) as runner:
        takeover = runner._claiming._takeover
        for attempts in (1, 2, 3):
            await table.set("a", f"runner = '{OTHER}'")  # whose process was killed
            takeover.look_soon()
            takeover.looks = 0
            await takeover.look()
            row = await table.row("a")
            assert (row["runner"], row["attempts"]) == (None, attempts)
        assert row["due"] == float("inf")
        assert await runner.claim("a") is None
        assert await storage.release("a")
        assert (await next_claim(runner)).id == "a"


async def test_what_its_frozen_owner_has_locked_keeps_nobody_from_the_rest(
    start: Start, table: Table, storage: AsyncStorage, pool: Pool
) -> None:
    other = await start()
    await storage.put_many([order("locked"), order("free")])
    dead = await other.runner(workflows=["Order"], name="dead")
    for _ in range(2):
        await next_claim(dead)
    await table.expire(dead.token)
    async with storage.runner(workflows=["Order"], retry_after=lambda _: 0) as runner:
        async with pool.acquire() as link, link.transaction():
            await link.execute(
                f"SELECT 1 FROM {storage.schema}.workflow_instances WHERE id = 'locked' FOR UPDATE"
            )
            assert (await next_claim(runner)).id == "free"
            assert (await table.row("locked"))["runner"] == dead.token
        assert (await next_claim(runner)).id == "locked"


async def test_a_look_that_fails_keeps_nobody_from_claiming(
    start: Start, faults_of: FaultsOf
) -> None:
    async with start(timeout=0.5) as storage:
        await storage.insert(order("a"))
        faults = faults_of(storage)
        faults.refuse(
            "take_over", error=ConflictError("locked", applied="no", retryable=True), times=1000
        )
        async with storage.runner(workflows=["Order"]) as runner:
            assert (await next_claim(runner)).id == "a"
            assert faults.planned == 1
        faults.clear()


async def test_what_a_dead_one_owns_and_may_not_be_updated_keeps_nobody_from_claiming(
    storage: AsyncStorage, table: Table, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    dead = await storage.runner(workflows=["Order"])
    await dead.insert(order("refused"))
    await dead._heartbeat.stop()
    await table.expire(dead.token)
    await pool.execute(
        f"ALTER TABLE {storage.schema}.workflow_instances"
        " ADD CONSTRAINT closed CHECK (id <> 'refused') NOT VALID"
    )
    async with storage.runner(workflows=["Order"]) as runner:
        await storage.insert(order("a"))
        assert (await next_claim(runner)).id == "a"
        assert "a look for dead runners failed, and comes again" in caplog.text


async def test_one_that_is_asked_for_while_another_is_under_way_comes_after_it(
    storage: AsyncStorage, faults: Faults
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        takeover = runner._claiming._takeover
        held = faults.delay("take_over")
        looking = asyncio.create_task(takeover.look())
        await held.started.wait()
        takeover.look_soon()
        held.release()
        await looking
        for _ in range(2):
            await takeover.look()
    assert faults.tried.count("take_over") == 2


@pytest.mark.parametrize("to", ("completed", "claimed"))
async def test_what_others_write_while_it_looks_is_not_overwritten(
    start: Start, table: Table, storage: AsyncStorage, pool: Pool, *, to: str
) -> None:
    other = await start()
    await storage.insert(order("a"))
    dead = await other.runner(workflows=["Order"], name="dead")
    await next_claim(dead)
    await table.expire(dead.token)
    async with storage.runner(workflows=["Order"], lease=60) as runner:
        owner, status = ("NULL", to) if to == "completed" else (f"'{runner.token}'", "running")
        takeover = runner._claiming._takeover
        async with pool.acquire() as link, link.transaction():
            await link.execute(
                f"UPDATE {storage.schema}.workflow_instances"
                f" SET runner = {owner}, status = '{status}', revision = revision + 1"
            )
            await takeover.look()
        takeover.look_soon()
        await takeover.look()
        read = await storage.get("a")
        assert read is not None
        assert (read.status, read.runner) == (status, None if owner == "NULL" else runner.token)
        assert (await table.row("a"))["attempts"] == 0
