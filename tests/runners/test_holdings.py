"""What a runner holds, by id: with a claim, before it is handed out, and until it is given back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from hephaestus_pg import ClaimLostError, Status
from hephaestus_pg.runners.claim import Claim, Claims
from hephaestus_pg.runners.holdings import Holdings
from tests.runners.conftest import next_claim, order
from tests.support.lag import happens

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.runners.claim import Owner
    from tests.runners.conftest import Table
    from tests.support.starting import Start

pytestmark = pytest.mark.quick


async def test_one_that_is_released_and_claimed_again_here_is_not_given_back_by_the_first(
    storage: AsyncStorage, table: Table
) -> None:
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(ClaimLostError, match="released, and has been claimed again"):
            async with await next_claim(runner):
                await storage.release("x")
                assert await runner.claim("x") is None
                others = asyncio.ensure_future(next_claim(runner))
                await asyncio.sleep(60)
        again = await others
        assert (await table.row("x"))["runner"] == runner.token
        async with again as held:
            await storage.update(replace(held, status=Status.COMPLETED))


async def test_one_that_another_runner_of_the_storage_claims_is_lost_at_once(
    storage: AsyncStorage, start: Start
) -> None:
    await storage.insert(order("x"))
    operator = await start(name="operator")
    async with (
        storage.runner(workflows=["Order"], name="first") as first,
        storage.runner(workflows=["Order"], name="second") as second,
    ):
        claim = await next_claim(first)
        with pytest.raises(ClaimLostError, match="released, and has been claimed again"):
            async with claim:
                assert await operator.release("x")
                others = asyncio.ensure_future(next_claim(second))
                await asyncio.wait_for(asyncio.Event().wait(), 30)
        async with await others as held:
            await storage.update(replace(held, status=Status.COMPLETED))


async def test_a_claim_that_ends_leaves_the_next_one_of_its_id() -> None:
    claims, owner = Claims(), cast("Owner", None)
    held = Holdings(claims)
    first, second = Claim(owner, order("x")), Claim(owner, order("x"))
    held.handed_out(first)
    held.claimed("x")
    held.handed_out(second)
    held.ended(first)
    assert (held.claims(), claims.by_id) == ([second], {"x": second})


async def test_what_is_handed_out_counts_until_its_scope_ends(storage: AsyncStorage) -> None:
    await storage.put_many([order("x"), order("y")])
    async with storage.runner(workflows=["Order"], name="one") as runner:
        claims = [await next_claim(runner), await next_claim(runner)]
        assert ", 2 claims>" in repr(runner)
        for left, claim in enumerate(claims):
            async with claim as held:
                await storage.update(replace(held, status=Status.COMPLETED))
            assert f", {1 - left} claims>" in repr(runner)


async def test_a_stop_does_not_wait_for_a_task_that_has_ended_in_its_scope(
    storage: AsyncStorage,
) -> None:
    """As a fixture that yields: pytest-asyncio enters it in a task, and leaves it in another."""
    async with storage.runner(workflows=["Order"]) as runner:
        claim = await runner.insert(order("x"))
        await asyncio.create_task(claim.__aenter__())
        assert runner._held.entered(but=None) == []
        await runner.stop()
        await claim.__aexit__(None, None, None)


async def test_a_stop_waits_for_the_scopes_of_all_tasks_but_its_own(storage: AsyncStorage) -> None:
    await storage.put_many([order("x"), order("y")])
    left: list[str] = []
    async with storage.runner(workflows=["Order"]) as runner:

        async def work() -> None:
            async with await next_claim(runner) as held:
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(0.05)
                    left.append(held.id)

        task = asyncio.create_task(work())
        async with await next_claim(runner) as mine:
            await happens(lambda: len(runner._held.entered(but=None)) == 2)
            await runner.stop()
            assert len(left) == 1
            assert left != [mine.id]
        await task
