"""What can be claimed, by whom, in which order, and with how many statements."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import AccessDeniedError, RejectedError, Status
from hephaestus_pg.runners import claiming, takeover
from hephaestus_pg.testing import drain
from tests.batching.test_keyed import become, role, tenant
from tests.runners.conftest import OTHER, next_claim, order
from tests.support.lag import happens, within
from tests.watch.conftest import listens

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Instance, Runner
    from tests.runners.conftest import Pool, Table
    from tests.support.databases import Owner
    from tests.support.faults import Faults
    from tests.support.starting import Start

__all__ = ["role"]  # a fixture

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


async def drained(runner: Runner, faults: Faults) -> list[str]:
    """The ids that can be claimed now, in the order in which they are, each by itself."""
    ids: list[str] = []
    while True:
        faults.rows.clear()
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: waiting.done() or 0 in faults.rows)  # noqa: B023 - awaited here
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})
            return ids
        ids.append(waiting.result().id)


async def nothing_found(faults: Faults, times: int) -> None:
    """Wait until so many claims have found nothing."""
    await happens(lambda: faults.rows.count(0) >= times)


async def test_what_can_be_claimed_is_claimed_with_the_oldest_due_first(
    storage: AsyncStorage, table: Table, faults: Faults
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
        assert await drained(runner, faults) == ["old", "due", "timer", "now", "running"]
    assert (await table.row("old"))["runner"] is None
    async with storage.runner(workflows=["Refund"]) as runner:
        assert await drained(runner, faults) == ["another's"]


@pytest.mark.parametrize("others", (0, 1))
async def test_what_somebody_has_locked_for_long_keeps_nobody_from_the_rest(
    storage: AsyncStorage, table: Table, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 3600.0)
    old, new = [f"old::{number}" for number in range(30)], ["new::1", "new::2", "new::3"]
    for each in (old, new):
        await storage.put_many(map(order, each))
    for id in old:
        await table.set(id, "inserted_at = now() - interval '1 day'")
    async with AsyncExitStack() as stack:
        runner, *_ = [
            await stack.enter_async_context(storage.runner(workflows=["Order"], name=str(number)))
            for number in range(1 + others)
        ]
        async with storage.transaction() as theirs:
            await theirs.put_many(map(order, old))
            claimed = [(await next_claim(runner)).id for _ in new]
            assert sorted(claimed) == new
            assert others or claimed == new
        assert (await next_claim(runner)).id in old


@pytest.mark.parametrize("others", (0, 1))
async def test_one_whose_update_is_refused_keeps_nobody_from_the_rest(
    storage: AsyncStorage,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    others: int,
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 0.05)
    await storage.put_many([order("a"), order("b"), order("refused")])
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances"
        " SET inserted_at = now() - interval '1 day' WHERE id = 'refused'"
    )
    await pool.execute(
        f"ALTER TABLE {storage.schema}.workflow_instances"
        " ADD CONSTRAINT closed CHECK (id <> 'refused') NOT VALID"
    )
    async with AsyncExitStack() as stack:
        runner, *_ = [
            await stack.enter_async_context(storage.runner(workflows=["Order"], name=str(number)))
            for number in range(1 + others)
        ]
        claims = [await next_claim(runner) for _ in ("a", "b")]
        assert sorted(claim.id for claim in claims) == ["a", "b"]
        # Who waits where nothing else is left goes on to do so.
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: "an instance cannot be claimed" in caplog.text)
        await storage.insert(order("c"))
        assert (await waiting).id == "c"


async def test_who_drains_hears_of_one_whose_update_is_refused(
    storage: AsyncStorage, pool: Pool
) -> None:
    await storage.insert(order("refused"))
    await pool.execute(
        f"ALTER TABLE {storage.schema}.workflow_instances"
        " ADD CONSTRAINT closed CHECK (id <> 'refused') NOT VALID"
    )

    async def work(runner: Runner) -> None:
        async for _ in runner.claims():
            pass

    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(RejectedError, match="closed"):
            await drain(runner, work)


async def test_it_claims_and_gives_back_what_who_started_it_may_see(
    start: Start, role: str, owner: Owner, migrated: str
) -> None:
    owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {migrated}.workflow_runners TO {role}")
    storage = await start(setup=become, batch_by=tenant.get, server_settings={"role": role})
    for who in ("globex", "acme"):
        tenant.set(who)
        await storage.put_many(map(order, (f"{who}::1", f"{who}::2")))
    async with storage.runner(workflows=["Order"]) as runner:
        tenant.set("globex")
        claimed = [(await next_claim(runner)).id for _ in range(2)]
        assert claimed == ["acme::1", "acme::2"]
    tenant.set("acme")
    assert await storage.count(runner=None) == 2


async def test_it_gives_back_at_the_end_of_a_scope_what_who_works_on_it_may_not_see(
    start: Start, role: str, owner: Owner, migrated: str
) -> None:
    owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {migrated}.workflow_runners TO {role}")
    storage = await start(setup=become, batch_by=tenant.get, server_settings={"role": role})
    tenant.set("acme")
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"], retry_after=lambda _: 0) as runner:
        tenant.set("globex")
        async with await next_claim(runner):
            pass
        with pytest.raises(KeyError):
            async with await next_claim(runner):
                raise KeyError
        tenant.set("acme")
        assert await storage.count(runner=None) == 1
        # Of one that a worker asks for by its id, with what he may see himself.
        tenant.set("globex")
        await storage.insert(order("y"))
        own = await runner.claim("y")
        assert own is not None
        async with own:
            assert await storage.count(runner=None) == 0
        assert await storage.count(runner=None) == 1


async def test_who_is_cancelled_as_he_is_given_what_he_may_not_see_gives_it_back(
    start: Start, role: str, owner: Owner, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {migrated}.workflow_runners TO {role}")
    storage = await start(setup=become, batch_by=tenant.get, server_settings={"role": role})
    tenant.set("acme")
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        hand_out = runner._claiming._hand_out

        def cancelled_meanwhile(instance: Instance) -> bool:
            is_handed_out = hand_out(instance)
            waiting.cancel()
            return is_handed_out

        monkeypatch.setattr(runner._claiming, "_hand_out", cancelled_meanwhile)
        tenant.set("globex")
        waiting = asyncio.create_task(next_claim(runner))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tenant.set("acme")
        assert await storage.count(runner=None) == 1


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


async def test_who_waited_too_long_for_one_waits_again(storage: AsyncStorage) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        claims = runner.claims()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(claims)
        await storage.insert(order("x"))
        assert (await anext(claims)).id == "x"


async def test_all_who_wait_are_one_statement(storage: AsyncStorage, faults: Faults) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        await listens(storage)
        tasks = [asyncio.create_task(next_claim(runner)) for _ in range(100)]
        await nothing_found(faults, 1)
        await storage.put_many([order(f"x::{number}") for number in range(100)])
        claims = await asyncio.gather(*tasks)
        assert len({claim.id for claim in claims}) == 100
        assert faults.tried.count("claim") == 2


async def test_those_that_find_nothing_are_apart_however_often_others_write(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(claiming, "POLL_SECONDS", 3600.0)
    async with storage.runner(workflows=["Order"]) as runner:
        await listens(storage)
        task = asyncio.create_task(next_claim(runner))
        await nothing_found(faults, 1)
        began = asyncio.get_running_loop().time()

        def woken() -> bool:
            storage._claims.wake(has_timer=False)
            return faults.rows.count(0) >= 3

        await happens(woken)
        assert asyncio.get_running_loop().time() > began + 0.2
        task.cancel()


async def test_what_this_process_writes_is_claimed_without_a_pause(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 60.0)
    async with storage.runner(workflows=["Order"]) as runner:
        for number in range(3):
            task = asyncio.create_task(next_claim(runner))
            await nothing_found(faults, number + 1)
            held = await storage.insert(order(f"x::{number}", Status.WAITING))
            await storage.update(replace(held, status=Status.RUNNING))
            assert (await task).id == f"x::{number}"


@pytest.mark.parametrize("is_waiting", (True, False))
async def test_a_timer_is_claimed_when_it_is_due(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch, *, is_waiting: bool
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 60.0)
    async with storage.runner(workflows=["Order"]) as runner:
        timer = order("x", Status.WAITING, due_at=datetime.now(UTC) + timedelta(seconds=1))
        if is_waiting:
            task = asyncio.create_task(next_claim(runner))
            await nothing_found(faults, 1)
            await storage.insert(timer)
        else:
            await storage.insert(timer)
            task = asyncio.create_task(next_claim(runner))
        assert timer.due_at is not None
        async with within(1.5):
            claim = await task
        assert claim.id == "x"
        assert datetime.now(UTC) >= timer.due_at


async def test_a_timer_that_the_only_worker_has_set_is_claimed_when_it_is_due(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(takeover, "LOOK_SECONDS", 3600.0)
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        for _ in range(3):  # nobody waits while it writes
            async with await next_claim(runner) as held:
                soon = datetime.now(UTC) + timedelta(seconds=0.1)
                await storage.update(replace(held, status=Status.WAITING, due_at=soon))


async def test_one_that_is_never_due_keeps_nobody_from_the_rest(
    storage: AsyncStorage, table: Table
) -> None:
    """Before PostgreSQL 17 nothing can be subtracted from infinity."""
    await storage.put_many([order("never"), order("x")])
    await table.set("never", "due_at = 'infinity', attempts = 5")
    async with storage.runner(workflows=["Order"]) as runner:
        assert (await next_claim(runner)).id == "x"


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
        storage.runner(workflows=["Refund"]),
    ):
        claim = await runner.claim("x")
        assert claim is not None
        assert await runner.claim("x") is None
        assert await other.claim("x") is None
        ids = ["nobody", "later", "waiting", "refund", "x"]
        for id in ids:
            assert await runner.claim(id) is None
        assert await asyncio.gather(*map(other.claim, ids)) == [None] * len(ids)
        async with claim:
            pass
        many = await asyncio.gather(*(other.claim("x") for _ in range(20)))
        assert [each.id for each in many if each] == ["x"]


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

    async def test_who_may_not_claim_hears_of_it(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        async with storage.runner(workflows=["Order"]) as runner:
            faults.refuse("claim", error=AccessDeniedError("no", applied="no", retryable=False))
            with pytest.raises(AccessDeniedError):
                await next_claim(runner)


async def test_one_that_waits_for_news_after_a_failed_attempt_does_so(
    storage: AsyncStorage, table: Table
) -> None:
    stored = await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"], retry_after=lambda _: 0.0) as runner:
        claim = await runner.claim("x")
        assert claim is not None
        with pytest.raises(KeyError):
            async with claim:
                raise KeyError
        claim = await runner.claim("x")
        assert claim is not None
        async with claim as held:
            assert held == stored
            await storage.update(replace(held, status=Status.WAITING))
        assert await runner.claim("x") is None


async def test_what_a_call_is_about_to_own_is_not_taken_for_a_lost_answer(
    storage: AsyncStorage, faults: Faults
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        faults.lose_answer("insert")
        looking = faults.delay("get")
        inserting = asyncio.create_task(runner.insert(order("x")))
        await looking.started.wait()  # it is stored, and nobody was told
        faults.lose_answer("claim")
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: faults.tried.count("claim") == 2)  # nothing was found
        looking.release()
        async with await inserting as held:
            running = await storage.update(replace(held, status=Status.RUNNING))
            assert not waiting.done()
            await storage.update(replace(running, status=Status.COMPLETED))
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_what_a_call_owns_by_then_is_not_taken_for_a_lost_answer(
    storage: AsyncStorage, faults: Faults
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        looking = faults.delay("owned")
        faults.lose_answer("claim")
        waiting = asyncio.create_task(next_claim(runner))
        await looking.started.wait()  # with the ids that it leaves out
        async with await runner.insert(order("x")) as held:
            running = await storage.update(replace(held, status=Status.RUNNING))
            looking.release()
            await happens(lambda: faults.tried.count("claim") == 2)
            assert not waiting.done()
            await storage.update(replace(running, status=Status.COMPLETED))
        waiting.cancel()
        await asyncio.wait({waiting})
