"""What can be claimed, by whom, in which order, and with how many statements."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hephaestus_pg import AccessDeniedError, Instance, Status
from hephaestus_pg.runners import claiming
from tests.support.lag import happens, within

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Claim, Runner
    from tests.runners.conftest import Table
    from tests.support.faults import Faults
    from tests.support.starting import Start

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
OTHER = UUID("0191e0a4-5b0c-7d3e-8f00-000000000001")


def order(id: str, status: Status = Status.PENDING, **fields: Any) -> Instance:
    return Instance(id, fields.pop("workflow", "Order"), status=status, **fields)


async def next_claim(runner: Runner) -> Claim:
    async with asyncio.timeout(10):
        return await anext(runner.claims())


async def drained(runner: Runner) -> list[str]:
    """The ids that can be claimed now, in the order in which they are, each by itself."""
    ids = []
    while True:
        try:
            async with asyncio.timeout(0.3):
                ids.append((await anext(runner.claims())).id)
        except TimeoutError:
            return ids


async def test_what_can_be_claimed_is_claimed_with_the_oldest_due_first(
    storage: AsyncStorage, table: Table
) -> None:
    await storage.put_many(
        [
            order("now"),
            order("running", Status.RUNNING),
            order("due", due_at=NOW - 3 * HOUR),
            order("timer", Status.WAITING, due_at=NOW - 2 * HOUR),
            order("to come", due_at=NOW + HOUR),
            order("timer to come", Status.WAITING, due_at=NOW + HOUR),
            order("for news", Status.WAITING),
            order("done", Status.COMPLETED, due_at=NOW - HOUR),
            order("failed", Status.FAILED),
            order("another's", workflow="Refund"),
            order("owned"),
            order("old"),
        ]
    )
    await table.set("owned", f"runner = '{OTHER}'")
    await table.set("old", "inserted_at = now() - interval '1 day'")
    await table.set("running", "inserted_at = now() + interval '2 hours'")  # another's clock
    async with storage.runner(workflows=["Order", "Nothing"], name="one") as runner:
        await table.set("owned", f"runner = '{runner.token}'")  # lest it counts as an orphan
        assert await drained(runner) == ["old", "due", "timer", "now", "running"]
    assert (await table.row("old"))["runner"] is None
    async with storage.runner(workflows=["Refund"]) as runner:
        assert await drained(runner) == ["another's"]


async def test_a_claim_sets_the_owner_and_raises_the_revision(
    storage: AsyncStorage, table: Table
) -> None:
    stored = await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        claim = await next_claim(runner)
        async with claim as held:
            assert held == stored
            assert held.runner == runner.token == (await table.row("x"))["runner"]
            assert held.revision == claim.token == (stored.revision or 0) + 1
            assert [each.id for each in await storage.query(runner=runner.token)] == ["x"]


async def test_all_who_wait_are_one_statement(storage: AsyncStorage, faults: Faults) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        tasks = [asyncio.create_task(next_claim(runner)) for _ in range(100)]
        await happens(lambda: faults.tried.count("claim") == 1)
        await storage.put_many([order(f"x::{number}") for number in range(100)])
        claims = await asyncio.gather(*tasks)
        assert len({claim.id for claim in claims}) == 100
        assert faults.tried.count("claim") == 2


async def test_what_this_process_writes_is_claimed_without_a_pause(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 60.0)
    async with storage.runner(workflows=["Order"]) as runner:
        for number in range(3):
            task = asyncio.create_task(next_claim(runner))
            await asyncio.sleep(0.05)
            held = await storage.insert(order(f"x::{number}", Status.WAITING))
            await asyncio.sleep(0.05)
            assert not task.done()
            await storage.update(replace(held, status=Status.RUNNING))
            assert (await task).id == f"x::{number}"


@pytest.mark.parametrize("is_waiting", (True, False))
async def test_a_timer_is_claimed_when_it_is_due(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch, *, is_waiting: bool
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 60.0)
    async with storage.runner(workflows=["Order"]) as runner:
        timer = order("x", Status.WAITING, due_at=datetime.now(UTC) + timedelta(seconds=1))
        if is_waiting:
            task = asyncio.create_task(next_claim(runner))
            await asyncio.sleep(0.1)
            await storage.insert(timer)
        else:
            await storage.insert(timer)
            task = asyncio.create_task(next_claim(runner))
        assert timer.due_at is not None
        async with within(1.5):
            claim = await task
        assert claim.id == "x"
        assert datetime.now(UTC) >= timer.due_at


async def test_many_runners_never_claim_one_instance_twice(start: Start) -> None:
    storages = [await start() for _ in range(3)]
    ids = [f"x::{number:03}" for number in range(300)]
    await storages[0].put_many(map(order, ids))
    runners = [await each.runner(workflows=["Order"]) for each in storages]
    done: list[str] = []

    async def work(storage: AsyncStorage, runner: Runner) -> None:
        async for claim in runner.claims():
            async with claim as held:
                done.append(held.id)
                await storage.update(replace(held, status=Status.COMPLETED))

    async with asyncio.TaskGroup() as group:
        for storage, runner in zip(storages, runners, strict=True):
            for _ in range(5):
                group.create_task(work(storage, runner))
        await happens(lambda: len(done) >= 300)
        await asyncio.gather(*(runner.stop() for runner in runners))
    assert sorted(done) == ids


async def test_one_by_its_id_is_claimed_if_it_can_be(storage: AsyncStorage) -> None:
    await storage.put_many(
        [
            order("x"),
            order("later", due_at=NOW + HOUR),
            order("waiting", Status.WAITING),
            order("refund", workflow="Refund"),
        ]
    )
    async with (
        storage.runner(workflows=["Order"]) as runner,
        storage.runner(workflows=["Order"]) as other,
    ):
        claim = await runner.claim("x")
        assert claim is not None
        assert await runner.claim("x") is None
        assert await other.claim("x") is None
        for id in ("later", "waiting", "refund", "nobody"):
            assert await runner.claim(id) is None
        async with claim:
            pass
        many = await asyncio.gather(*(other.claim("x") for _ in range(20)))
        assert [each.id for each in many if each] == ["x"]


async def test_a_claim_that_nobody_waits_for_any_more_is_given_back(
    storage: AsyncStorage, table: Table, faults: Faults
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: faults.tried.count("claim") == 1)
        faults.before("claim", waiting.cancel)
        await storage.insert(order("x"))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await happens(lambda: faults.tried.count("give_back") == 1)
        faults.stop()
        assert (await next_claim(runner)).id == "x"


class TestLostAnswers:
    async def test_a_claim_whose_answer_is_lost_is_found_by_its_owner(
        self, storage: AsyncStorage, faults: Faults, table: Table
    ) -> None:
        await storage.put_many([order("a"), order("b")])
        async with storage.runner(workflows=["Order"]) as runner:
            faults.lose_answer("claim")
            claims = await asyncio.gather(next_claim(runner), next_claim(runner))
            assert {claim.id for claim in claims} == {"a", "b"}
            assert "owned" in faults.tried

    async def test_one_by_its_id_too(self, storage: AsyncStorage, faults: Faults) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            faults.lose_answer("claim_one")
            claim = await runner.claim("a")
            assert claim is not None
            async with claim as held:
                await storage.update(replace(held, status=Status.COMPLETED))

    @pytest.mark.parametrize("verb", ("claim_one", "insert"))
    async def test_one_that_was_cancelled_under_way_is_given_back(
        self, storage: AsyncStorage, faults: Faults, table: Table, verb: str
    ) -> None:
        if verb == "claim_one":
            await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            call = runner.claim("a") if verb == "claim_one" else runner.insert(order("a"))
            task = asyncio.create_task(call)

            def cancel_soon() -> None:
                asyncio.get_running_loop().call_soon(task.cancel)

            faults.before(verb, cancel_soon)
            with pytest.raises(asyncio.CancelledError):
                await task
            faults.stop()
            # Whether it was carried out or not, nobody of this runner's keeps it.
            await happens(lambda: not runner._held)
            row = await table.row("a")
            assert row is None or row["runner"] is None

    @pytest.mark.parametrize("fails", (True, False))
    async def test_a_give_back_whose_answer_is_lost_counts_once(
        self, storage: AsyncStorage, faults: Faults, table: Table, *, fails: bool
    ) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            faults.lose_answer("fail" if fails else "give_back")
            with pytest.raises(KeyError) if fails else nullcontext():
                async with await next_claim(runner):
                    if fails:
                        raise KeyError
            row = await table.row("a")
            assert (row["runner"], row["attempts"]) == (None, int(fails))

    async def test_a_give_back_that_fails_is_made_up_for(
        self, storage: AsyncStorage, faults: Faults, table: Table
    ) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            denied = AccessDeniedError("not now", applied="no", retryable=False)
            faults.fail("give_back", denied, times=2)
            async with await next_claim(runner):
                pass
            assert (await table.row("a"))["runner"] == runner.token
            assert (await next_claim(runner)).id == "a"

    async def test_who_may_not_claim_hears_of_it(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        async with storage.runner(workflows=["Order"]) as runner:
            faults.fail("claim", AccessDeniedError("no", applied="no", retryable=False))
            with pytest.raises(AccessDeniedError):
                await next_claim(runner)


class TestTakingOver:
    async def test_what_a_dead_runner_owns_is_taken_over_after_an_attempt(
        self, start: Start, table: Table, storage: AsyncStorage
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
        self, start: Start, table: Table, storage: AsyncStorage
    ) -> None:
        await storage.insert(order("a"))
        other = await start()
        dead = await other.runner(workflows=["Order"], name="dead")
        await next_claim(dead)
        await table.expire(dead.token)
        async with storage.runner(
            workflows=["Order"], lease=5, retry_after=lambda _: 25.0
        ) as runner:
            task = asyncio.create_task(next_claim(runner))
            await happens(lambda: runner._claiming._takeover.looks)
            row = await table.row("a")
            assert (row["runner"], row["attempts"]) == (None, 1)
            assert 15 < row["due"] <= 20
            task.cancel()

    async def test_a_runner_without_a_row_is_dead(
        self, start: Start, table: Table, storage: AsyncStorage
    ) -> None:
        await storage.insert(order("a"))
        await table.set("a", f"runner = '{OTHER}'")
        async with storage.runner(workflows=["Order"], lease=60) as runner:
            assert (await next_claim(runner)).id == "a"
            assert (await table.row("a"))["attempts"] == 1

    async def test_a_dead_runner_claims_nothing(self, storage: AsyncStorage, table: Table) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"], lease=60) as runner:
            await table.expire(runner.token)
            assert await runner.claim("a") is None


class TestAttempts:
    async def test_a_body_that_raises_is_tried_again_later_and_at_last_never(
        self, storage: AsyncStorage, table: Table
    ) -> None:
        await storage.insert(order("a"))
        async with storage.runner(
            workflows=["Order"], max_attempts=3, retry_after=lambda n: 100.0 * n
        ) as runner:
            for attempt, wait in ((1, 100), (2, 200)):
                with pytest.raises(KeyError):
                    async with await next_claim(runner):
                        raise KeyError
                row = await table.row("a")
                assert (row["runner"], row["attempts"]) == (None, attempt)
                assert wait - 20 < row["due"] <= wait
                assert await runner.claim("a") is None
                await table.set("a", "due_at = now()")
            with pytest.raises(KeyError):
                async with await next_claim(runner):
                    raise KeyError
            assert (await table.row("a"))["due"] == float("inf")
            read = await storage.get("a")
            assert read is not None
            assert read.due_at is None
            assert await storage.release("a") is True
            assert await storage.release("a") is False
            async with await next_claim(runner) as held:
                assert held.due_at is not None
            assert (await table.row("a"))["attempts"] == 0

    async def test_a_write_forgets_them(self, storage: AsyncStorage, table: Table) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"], max_attempts=1) as runner:
            with pytest.raises(KeyError):
                async with await next_claim(runner):
                    raise KeyError
            assert (await table.row("a"))["due"] == float("inf")
            await storage.modify("a", lambda held: replace(held, runtime_metadata={"seen": True}))
            assert (await next_claim(runner)).id == "a"

    async def test_a_moment_that_lies_further_ahead_stays(
        self, storage: AsyncStorage, table: Table
    ) -> None:
        await storage.insert(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            with pytest.raises(KeyError):
                async with await next_claim(runner) as held:
                    await storage.update(replace(held, due_at=NOW + HOUR))
                    raise KeyError
            assert (await table.row("a"))["due"] > 3000

    async def test_one_that_cannot_be_read_is_a_failed_attempt(
        self, storage: AsyncStorage, table: Table
    ) -> None:
        await storage.put_many([order("bad"), order("good")])
        await table.set("bad", """state = '{"context": 1}', inserted_at = 'epoch'""")
        async with storage.runner(workflows=["Order"]) as runner:
            assert (await next_claim(runner)).id == "good"
            row = await table.row("bad")
            assert (row["runner"], row["attempts"]) == (None, 1)
