"""The scope of a claim: how it ends, and what others may do to it meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    ClaimLostError,
    ConflictError,
    Instance,
    LifecycleError,
    StaleInstanceError,
    Status,
)
from tests.runners.conftest import next_claim
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg import AsyncStorage, Claim, Runner
    from tests.runners.conftest import Table
    from tests.support.faults import Faults
    from tests.support.starting import Start

DONE: dict[str, Any] = {"status": Status.COMPLETED}


@pytest.fixture
async def runner(storage: AsyncStorage) -> AsyncIterator[Runner]:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"]) as runner:
        yield runner


@pytest.fixture
async def claim(runner: Runner) -> Claim:
    claim = await runner.claim("x")
    assert claim is not None
    return claim


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("verb", ("update", "put", "put_many", "modify"))
async def test_a_write_that_ends_it_is_its_only_statement(  # noqa: PLR0917
    storage: AsyncStorage, claim: Claim, faults: Faults, table: Table, verb: str, status: Status
) -> None:
    async with claim as held:
        new = replace(held, status=status)
        match verb:
            case "put_many":
                [written] = await storage.put_many([new])
            case "modify":
                written = await storage.modify("x", lambda it: replace(it, status=status))
            case _:
                written = await getattr(storage, verb)(new)
        ends = status not in {Status.PENDING, Status.RUNNING}
        assert (written.runner is None) is ends
    assert ("give_back" in faults.tried) is not ends
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)


async def test_several_writes_keep_it(storage: AsyncStorage, claim: Claim) -> None:
    async with claim as held:
        for step in ("charge", "ship"):
            done = held.completed_steps | {step}
            held = await storage.update(  # noqa: PLW2901 - as a runner would write it
                replace(held, status=Status.RUNNING, completed_steps=done)
            )
            assert held.runner
        await storage.update(replace(held, **DONE))


@pytest.mark.parametrize("verb", ("delete", "delete_many"))
async def test_a_delete_ends_it(
    storage: AsyncStorage, claim: Claim, faults: Faults, verb: str
) -> None:
    async with claim:
        await getattr(storage, verb)("x" if verb == "delete" else ["x"])
    assert "give_back" not in faults.tried


@pytest.mark.parametrize("commits", (True, False))
async def test_a_write_in_a_transaction_ends_it_if_that_commits(
    storage: AsyncStorage, claim: Claim, table: Table, *, commits: bool
) -> None:
    async with claim as held:
        try:
            async with storage.transaction() as transaction:
                await transaction.update(replace(held, **DONE))
                assert commits
        except AssertionError:
            pass
    row = await table.row("x")
    assert row["runner"] is None
    read = await storage.get("x")
    assert read is not None
    assert (read.status == Status.COMPLETED) is commits


@pytest.mark.parametrize("then", ("claimed", "claimed here", "written", "stale", "deleted"))
async def test_what_becomes_of_what_a_transaction_gave_up_is_not_the_scopes_affair(
    storage: AsyncStorage, runner: Runner, claim: Claim, start: Start, then: str
) -> None:
    other = await start()
    async with claim as held:
        async with storage.transaction() as transaction:
            await transaction.update(replace(held, status=Status.WAITING))
        if then == "deleted":
            await other.delete("x")
        elif then == "stale":
            with pytest.raises(StaleInstanceError):
                await storage.update(held)
        else:
            writer = storage if then == "written" else other
            await writer.modify("x", lambda it: replace(it, status=Status.RUNNING))
        if then == "claimed":
            async with other.runner(workflows=["Order"]) as theirs:
                assert await theirs.claim("x")
        elif then == "claimed here":
            await next_claim(runner)
        await asyncio.sleep(0.01)  # a body that were cancelled would be here


async def test_what_a_transaction_that_was_rolled_back_would_have_given_up_can_be_lost(
    storage: AsyncStorage, claim: Claim, start: Start
) -> None:
    other = await start()
    with pytest.raises(ClaimLostError):
        async with claim as held:
            with pytest.raises(KeyError):
                async with storage.transaction() as transaction:
                    await transaction.update(replace(held, **DONE))
                    raise KeyError
            await storage.update(replace(held, status=Status.RUNNING))
            await other.release("x")


async def test_a_delete_in_a_transaction_ends_it(storage: AsyncStorage, claim: Claim) -> None:
    async with claim, storage.transaction() as transaction:
        await transaction.delete("x")


async def test_what_its_scope_left_behind_is_fenced(storage: AsyncStorage, claim: Claim) -> None:
    async with claim as held:
        pass
    with pytest.raises(StaleInstanceError):
        await storage.update(held)


class TestBodies:
    async def test_one_that_raises_is_a_failed_attempt(self, claim: Claim, table: Table) -> None:
        with pytest.raises(KeyError):
            async with claim:
                raise KeyError
        row = await table.row("x")
        assert (row["runner"], row["attempts"]) == (None, 1)
        assert 0 < row["due"] <= 2

    async def test_one_that_raises_after_its_last_write_is_none(
        self, storage: AsyncStorage, claim: Claim, table: Table
    ) -> None:
        with pytest.raises(KeyError):
            async with claim as held:
                await storage.update(replace(held, **DONE))
                raise KeyError
        assert (await table.row("x"))["attempts"] == 0

    async def test_one_that_is_cancelled_is_none_either(self, claim: Claim, table: Table) -> None:
        entered = asyncio.Event()

        async def work() -> None:
            async with claim:
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        row = await table.row("x")
        assert (row["runner"], row["attempts"], row["due"]) == (None, 0, None)

    async def test_a_claim_is_used_once(self, claim: Claim) -> None:
        async with claim:
            with pytest.raises(LifecycleError, match="the claim of 'x' has been used"):
                async with claim:
                    pass
        with pytest.raises(LifecycleError, match="the claim of 'x' has been used"):
            async with claim:
                pass
        assert repr(claim) == "<Claim of 'x', ended>"

    async def test_tokens_grow(self, runner: Runner, claim: Claim) -> None:
        async with claim:
            pass
        again = await runner.claim("x")
        assert again is not None
        assert again.token > claim.token


class TestOthers:
    async def test_a_put_by_another_wins_and_takes_nothing_away(
        self, storage: AsyncStorage, claim: Claim, start: Start
    ) -> None:
        other = await start()
        async with claim as held:
            theirs = await other.put(Instance("x", "Order", runtime_metadata={"theirs": 1}))
            assert theirs.runner == held.runner
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(held, **DONE))
            await storage.modify("x", lambda held: replace(held, **DONE))
        read = await storage.get("x")
        assert read is not None
        assert (read.status, read.runtime_metadata) == (Status.COMPLETED, {"theirs": 1})

    @pytest.mark.parametrize("how", ("put", "release", "delete"))
    async def test_who_ends_it_from_outside_makes_it_lost(
        self, claim: Claim, start: Start, how: str
    ) -> None:
        other = await start()
        with pytest.raises(ClaimLostError, match="'x' was lost: somebody else has ended it") as it:
            async with claim as held:
                if how == "put":
                    await other.put(replace(held, **DONE))
                else:
                    await getattr(other, how)("x")
        assert it.value.id == "x"
        assert isinstance(it.value, ConflictError)

    async def test_a_stale_update_of_what_another_owns_cancels_the_body(
        self, storage: AsyncStorage, claim: Claim, start: Start
    ) -> None:
        other = await start()
        seen: list[str] = []
        with pytest.raises(ClaimLostError) as caught:
            async with claim as held:
                await other.release("x")
                async with (
                    other.runner(workflows=["Order"]) as theirs,
                    await anext(theirs.claims()),
                ):
                    try:
                        await storage.update(replace(held, **DONE))
                    except StaleInstanceError:
                        seen.append("stale")
                    await asyncio.sleep(60)
        assert seen == ["stale"]
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    async def test_whatever_the_body_of_a_lost_claim_raises_is_its_cause(
        self, claim: Claim, start: Start
    ) -> None:
        other = await start()
        with pytest.raises(ClaimLostError) as caught:
            async with claim:
                await other.release("x")
                raise KeyError
        assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("catches", (True, False))
async def test_a_task_whose_own_update_showed_the_loss_goes_on(
    storage: AsyncStorage, claim: Claim, *, catches: bool
) -> None:
    """The cancellation of a body that has nothing left to wait for does not hit what follows."""
    with pytest.raises(ClaimLostError) as caught:
        async with claim as held:
            await storage.release("x")
            with pytest.raises(StaleInstanceError) if catches else nullcontext():
                await storage.update(replace(held, **DONE))
    assert isinstance(caught.value.__cause__, StaleInstanceError) is not catches
    await asyncio.sleep(0.01)


async def test_a_lost_and_cancelled_body_is_cancelled(runner: Runner, claim: Claim) -> None:
    """Who cancels a task from outside does not get another error instead."""
    tasks: dict[str, Any] = {}

    async def work() -> None:
        async with claim:
            tasks["entered"] = True
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await happens(lambda: "entered" in tasks)
    claim.lose("a test says so")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
