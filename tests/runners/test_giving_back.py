"""What goes back at the end of a scope, or of a call, and what a failed attempt leaves behind."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AccessDeniedError,
    ClaimLostError,
    CorruptInstanceError,
    OperationTimeoutError,
    StaleInstanceError,
    Status,
    UnavailableError,
)
from hephaestus_pg.runners.claiming import Claiming
from tests.runners.conftest import OTHER, next_claim, order
from tests.support.lag import happens

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Instance
    from hephaestus_pg.runners.claim import Claim
    from tests.runners.conftest import Table
    from tests.support.faults import Faults


@pytest.mark.parametrize("when", ("asked for", "handed out"))
async def test_a_claim_that_nobody_waits_for_any_more_is_given_back(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    hand_out = Claiming._hand_out

    def handed_out(claiming: Claiming, instance: Instance) -> bool:
        was = hand_out(claiming, instance)
        waiting.cancel()
        return was

    async with storage.runner(workflows=["Order"]) as runner:
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: 0 in faults.rows)

        async def leave() -> None:
            faults.clear()
            waiting.cancel()
            await storage.insert(order("x"))

        if when == "asked for":
            faults.before("claim", leave)
        else:
            monkeypatch.setattr(Claiming, "_hand_out", handed_out)
            await storage.insert(order("x"))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await happens(lambda: faults.tried.count("give_back") == 1)
        assert (await next_claim(runner)).id == "x"


@pytest.mark.parametrize("verb", ("claim_one", "insert"))
async def test_one_that_was_cancelled_under_way_is_given_back(
    storage: AsyncStorage, faults: Faults, table: Table, verb: str
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
        faults.clear()
        # Whether it was carried out or not, nobody of this runner's keeps it.
        await happens(lambda: not runner._held)
        row = await table.row("a")
        assert row is None or row["runner"] is None


async def test_one_that_shared_a_statement_and_was_cancelled_is_given_back(
    storage: AsyncStorage, faults: Faults
) -> None:
    await storage.put_many(map(order, "abc"))
    async with storage.runner(workflows=["Order"]) as runner:
        alone, together = faults.delay("claim"), faults.delay("claim")
        calls = [asyncio.create_task(runner.claim(id)) for id in "abc"]
        await together.started.wait()
        calls[2].cancel()  # its statement is the other call's too
        together.release()
        alone.release()
        await asyncio.wait(calls)
        assert (await next_claim(runner)).id == "c"


async def test_an_insert_in_doubt_takes_nothing_from_the_claim_that_there_is(
    storage: AsyncStorage, faults: Faults
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(workflows=["Order"]) as runner, await next_claim(runner):
        late = OperationTimeoutError("too late", applied="unknown", retryable=True)
        faults.refuse("insert", error=late)
        with pytest.raises(OperationTimeoutError):
            await runner.insert(order("a"))
        assert not runner._giving_back._later


async def test_a_scope_that_is_cancelled_at_its_end_gives_back(
    storage: AsyncStorage, faults: Faults
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(workflows=["Order"]) as runner:

        async def body() -> None:
            async with await next_claim(runner):
                pass

        giving_back = faults.delay("give_back")
        task = asyncio.create_task(body())
        await giving_back.started.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        giving_back.release()
        assert (await next_claim(runner)).id == "a"


async def test_a_scope_at_its_end_is_not_cancelled_by_a_stop(
    storage: AsyncStorage, faults: Faults
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(workflows=["Order"]) as runner:
        claim = await next_claim(runner)

        async def body() -> None:
            async with claim:
                pass

        giving_back = faults.delay("give_back")
        task = asyncio.create_task(body())
        await giving_back.started.wait()
        stopping = asyncio.create_task(runner.stop())
        await happens(lambda: claim._stopped)
        giving_back.release()
        await task
        await stopping


@pytest.mark.parametrize("fails", (True, False))
async def test_a_give_back_whose_answer_is_lost_counts_once(
    storage: AsyncStorage, faults: Faults, table: Table, *, fails: bool
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


@pytest.mark.parametrize("fails", (False, True))
async def test_one_that_is_claimed_again_before_the_answer_is_here_was_not_lost(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(workflows=["Order"], retry_after=lambda _: 0) as runner:
        claim = await next_claim(runner)
        send_back = runner._giving_back._send_back
        again: list[Claim] = []

        async def send_back_slowly(id: str, *, failed: bool) -> bool:
            is_given_back = await send_back(id, failed=failed)
            if not again:
                again.append(await next_claim(runner))
            return is_given_back

        monkeypatch.setattr(runner._giving_back, "_send_back", send_back_slowly)
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            async with claim:
                assert 1 / (not fails)
        async with again[0] as instance:
            await storage.update(replace(instance, status=Status.COMPLETED))


@pytest.mark.parametrize("fails", (True, False))
async def test_scopes_that_end_together_take_nothing_from_others(
    storage: AsyncStorage, table: Table, *, fails: bool
) -> None:
    await storage.put_many(map(order, "abc"))
    async with storage.runner(workflows=["Order"]) as runner:
        claims = [await runner.claim(id) for id in "abc"]
        entered = asyncio.Barrier(len(claims))

        async def leave(claim: Claim) -> None:
            async with claim:
                await table.set(claim.id, f"runner = '{OTHER}'")
                await entered.wait()
                if fails:
                    raise KeyError

        ends = await asyncio.gather(
            *(leave(each) for each in claims if each), return_exceptions=True
        )
        assert [type(each) for each in ends] == [ClaimLostError] * 3
    for id in "abc":
        row = await table.row(id)
        assert (row["runner"], row["attempts"]) == (OTHER, 0)


async def test_a_give_back_that_fails_is_made_up_for(
    storage: AsyncStorage, faults: Faults, table: Table
) -> None:
    await storage.insert(order("a"))
    async with storage.runner(workflows=["Order"]) as runner:
        denied = AccessDeniedError("not now", applied="no", retryable=False)
        faults.refuse("give_back", error=denied, times=2)
        async with await next_claim(runner):
            pass
        assert (await table.row("a"))["runner"] == runner.token
        assert (await next_claim(runner)).id == "a"


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
                assert held.due_at is None
            assert (await table.row("a"))["attempts"] == 0

    @pytest.mark.parametrize("status", ("waiting", "completed"))
    async def test_what_others_have_parked_or_ended_is_given_no_moment(
        self, storage: AsyncStorage, table: Table, status: str
    ) -> None:
        async with storage.runner(workflows=["Order"]) as runner:
            claims = [await runner.insert(order(id)) for id in ("a", "b")]

            async def fail(claim: Claim) -> None:
                async with claim as held:
                    # As HephaestusEcto writes, which leaves the runner.
                    await table.set(held.id, f"status = '{status}'")
                    await storage.update(held)

            # Together they are given back in one statement.
            errors = await asyncio.gather(*map(fail, claims), return_exceptions=True)
            assert list(map(type, errors)) == [StaleInstanceError] * 2
            for id in ("a", "b"):
                row = await table.row(id)
                assert (row["runner"], row["attempts"], row["due"]) == (None, 0, None)

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
                    await storage.update(
                        replace(held, due_at=datetime.now(UTC) + timedelta(hours=1))
                    )
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

    async def test_one_by_its_id_too(self, storage: AsyncStorage, table: Table) -> None:
        await storage.put(order("bad"))
        await table.set("bad", """state = '{"context": 1}'""")
        async with storage.runner(workflows=["Order"]) as runner:
            with pytest.raises(CorruptInstanceError):
                await runner.claim("bad")
            row = await table.row("bad")
            assert (row["runner"], row["attempts"]) == (None, 1)

    async def test_one_whose_give_back_fails_costs_the_others_nothing(
        self, storage: AsyncStorage, table: Table, faults: Faults
    ) -> None:
        await storage.put_many([order("bad"), order("good")])
        await table.set("bad", """state = '{"context": 1}', inserted_at = 'epoch'""")
        faults.refuse("fail", error=UnavailableError("down", applied="no", retryable=False))
        async with storage.runner(workflows=["Order"]) as runner:
            tasks = [asyncio.create_task(next_claim(runner)) for _ in range(2)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().id for task in done] == ["good"]
            while (await table.row("bad"))["attempts"] == 0:
                await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
