"""Runners that own instances."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.errors import ClaimLostError, InstanceExistsError, StaleInstanceError
from hephaestus_pg.testing.conformance.suite import Breaks, Own, Suite, claimed, held
from hephaestus_pg.values.instance import Status

if TYPE_CHECKING:
    from hephaestus_pg.runners.runner import Runner
    from hephaestus_pg.storage import AsyncStorage

_INSTANCES = 24
_CLAIMERS = 3
_SECONDS = 60.0
"""After so long what hangs is ended. Nothing depends on it that works."""


class Claims(Suite):
    """Runners. The storage has ``runner()``, ``runners()`` and ``release()`` beside the verbs."""

    async def test_claims_gives_nobody_what_another_has(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.put_many(own.instances(_INSTANCES))
        given: list[str] = []
        left = {each.id for each in own.instances(_INSTANCES)}

        async def work(its_storage: AsyncStorage, runner: Runner) -> None:
            async for claim in runner.claims():
                async with claim as instance:
                    given.append(instance.id)
                    await its_storage.update(replace(instance, status=Status.COMPLETED))
                left.discard(instance.id)
                if not left:
                    await asyncio.gather(*(each.stop() for _, each in runners))

        async with (
            asyncio.timeout(_SECONDS),
            storage.runner(workflows=[own.workflow]) as one,
            another.runner(workflows=[own.workflow]) as other,
        ):
            runners = ((storage, one), (another, other))
            async with asyncio.TaskGroup() as group:
                for its_storage, runner in runners * _CLAIMERS:
                    group.create_task(work(its_storage, runner))
        assert sorted(given) == [each.id for each in own.instances(_INSTANCES)]
        assert await storage.count(workflow=own.workflow, status="completed") == _INSTANCES

    async def test_of_many_who_claim_one_instance_exactly_one_has_it(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with (
            storage.runner(workflows=[own.workflow]) as one,
            another.runner(workflows=[own.workflow]) as other,
        ):
            claims = await asyncio.gather(
                *(runner.claim(own.id()) for runner in (one, other) * _CLAIMERS)
            )
            [claim] = [each for each in claims if each is not None]
            async with claim as instance:
                owners = {one.token, other.token}
                assert instance.runner in owners
                assert (await held(storage, own.id())).runner == instance.runner

    async def test_a_claim_raises_the_revision_so_that_older_readers_are_stale(
        self, storage: AsyncStorage, own: Own
    ) -> None:
        seen = await storage.insert(own.instance())
        assert seen.revision is not None
        async with storage.runner(workflows=[own.workflow]) as runner:
            claim = await claimed(runner, own.id())
            async with claim as instance:
                assert claim.token == instance.revision
                assert claim.token > seen.revision
                with pytest.raises(StaleInstanceError):
                    await storage.update(replace(seen, status=Status.FAILED))
                await storage.update(replace(instance, status=Status.COMPLETED))

    async def test_whose_claim_is_released_cannot_write_any_more(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with storage.runner(workflows=[own.workflow]) as zombie:
            old = await claimed(zombie, own.id())
            with pytest.raises(ClaimLostError):
                async with old as stale:
                    assert await another.release(own.id()) is True
                    with pytest.raises(StaleInstanceError):
                        await storage.update(replace(stale, current_step="Zombie"))
            new = await claimed(zombie, own.id())
            assert new.token > old.token
            async with new as instance:
                assert instance.current_step is None

    async def test_who_outlives_its_lease_cannot_write_any_more(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own, faults: Breaks
    ) -> None:
        await storage.insert(own.instance())
        async with (
            storage.runner(workflows=[own.workflow], retry_after=lambda _: 0.0) as zombie,
            another.runner(workflows=[own.workflow]) as runner,
        ):
            old = await claimed(zombie, own.id())
            with pytest.raises(ClaimLostError):
                async with old as stale:
                    await faults.expire_lease(zombie)
                    new = await claimed(runner, own.id())
                    with pytest.raises(StaleInstanceError):
                        await storage.update(replace(stale, current_step="Zombie"))
            assert new.token > old.token
            async with new as instance:
                written = await another.update(replace(instance, current_step="New"))
                assert written.runner == runner.token

    async def test_a_body_that_ends_gives_the_instance_back(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with (
            storage.runner(workflows=[own.workflow]) as one,
            another.runner(workflows=[own.workflow], max_attempts=1) as other,
        ):
            for runner in (one, other, one):
                async with await claimed(runner, own.id()) as instance:
                    assert instance.runner == runner.token
                    assert await one.claim(own.id()) is None
                    assert await other.claim(own.id()) is None
                assert (await held(storage, own.id())).runner is None

    @pytest.mark.parametrize("status", (Status.WAITING, Status.COMPLETED, Status.FAILED))
    @pytest.mark.parametrize("verb", ("update", "put"))
    async def test_a_write_that_leaves_no_work_gives_the_claim_up(
        self, storage: AsyncStorage, own: Own, status: Status, verb: str
    ) -> None:
        await storage.insert(own.instance())
        async with storage.runner(workflows=[own.workflow]) as runner:
            async with await claimed(runner, own.id()) as instance:
                running = await storage.update(replace(instance, status=Status.RUNNING))
                assert running.runner == runner.token
                written = await getattr(storage, verb)(replace(running, status=status))
                assert written.runner is None
                assert (await held(storage, own.id())).runner is None
            assert await runner.claim(own.id()) is None
        assert await held(storage, own.id()) == written

    async def test_a_runner_owns_what_it_inserts(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        async with (
            storage.runner(workflows=[own.workflow]) as one,
            another.runner(workflows=[own.workflow]) as other,
        ):
            claim = await one.insert(own.instance())
            assert await other.claim(own.id()) is None
            with pytest.raises(InstanceExistsError):
                await other.insert(own.instance())
            async with claim as instance:
                assert instance.runner == one.token
                assert await storage.count(workflow=own.workflow, runner=one.token) == 1
                assert await storage.count(workflow=own.workflow, runner=None) == 0

    async def test_a_runner_that_stops_gives_back_at_once(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with another.runner(workflows=[own.workflow], max_attempts=1) as other:
            async with storage.runner(workflows=[own.workflow]) as runner:
                await claimed(runner, own.id())
                assert await other.claim(own.id()) is None
            async with await claimed(other, own.id()):
                pass

    async def test_a_put_by_somebody_else_wins_and_takes_no_claim(
        self, storage: AsyncStorage, another: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with (
            storage.runner(workflows=[own.workflow]) as runner,
            await claimed(runner, own.id()) as instance,
        ):
            theirs = await another.put(replace(instance, current_step="Theirs"))
            assert theirs.runner == runner.token
            with pytest.raises(StaleInstanceError):
                await storage.update(replace(instance, current_step="Own"))
            await storage.update(replace(theirs, status=Status.COMPLETED))

    async def test_a_runner_is_listed_while_it_lives(self, storage: AsyncStorage, own: Own) -> None:
        await storage.insert(own.instance())
        async with (
            storage.runner(workflows=[own.workflow], name="listed") as runner,
            await claimed(runner, own.id()),
        ):
            [info] = [each for each in await storage.runners() if each.token == runner.token]
            assert (info.name, info.workflows, info.owned) == ("listed", (own.workflow,), 1)
        assert runner.token not in {each.token for each in await storage.runners()}

    async def test_release_takes_only_what_somebody_has(
        self, storage: AsyncStorage, own: Own
    ) -> None:
        assert await storage.release(own.id()) is False
        await storage.insert(own.instance())
        assert await storage.release(own.id()) is False
