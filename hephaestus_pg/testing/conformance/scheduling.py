"""Which instances a runner is given, and when: due ones, and those that failed before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.testing.conformance.suite import Own, Suite, claimed, held
from hephaestus_pg.values.instance import Context, Status

if TYPE_CHECKING:
    from hephaestus_pg.runners.runner import Runner
    from hephaestus_pg.storage import AsyncStorage

_SECONDS = 60.0
"""After so long what hangs is ended. Nothing depends on it that works."""

_PAST = datetime(2020, 1, 1, tzinfo=UTC)
_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_EAST, _WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))

_CLAIMABLE: dict[str, tuple[Status, Any, bool]] = {
    "pending": (Status.PENDING, None, True),
    "running": (Status.RUNNING, None, True),
    "waiting": (Status.WAITING, None, False),
    "completed": (Status.COMPLETED, None, False),
    "failed": (Status.FAILED, None, False),
    "pending, due": (Status.PENDING, _PAST, True),
    "pending, due later": (Status.PENDING, _FUTURE, False),
    "running, due later": (Status.RUNNING, _FUTURE, False),
    "waiting, due": (Status.WAITING, _PAST, True),
    "waiting, due later": (Status.WAITING, _FUTURE, False),
    "completed, due": (Status.COMPLETED, _PAST, False),
    # By the wall clocks there both would be the other way round.
    "due an hour ago in the east": (Status.WAITING, (-_HOUR, _EAST), True),
    "due in an hour in the west": (Status.WAITING, (_HOUR, _WEST), False),
}


class _StepFailedError(Exception):
    """What a body raises here."""


async def _fail(runner: Runner, id: str, writing_to: AsyncStorage | None = None) -> None:
    """An attempt that fails, and if it is told where, after a write."""
    with pytest.raises(_StepFailedError):
        async with await claimed(runner, id) as instance:
            if writing_to is not None:
                begun = Context({"revision": instance.revision})
                await writing_to.update(replace(instance, context=begun))
            raise _StepFailedError


class Scheduling(Suite):
    """What runners are given. The storage has ``runner()`` and ``release()`` beside the verbs."""

    @pytest.mark.parametrize(
        ("status", "due", "is_claimable"), list(_CLAIMABLE.values()), ids=list(_CLAIMABLE)
    )
    async def test_what_is_due_and_has_work_left_can_be_claimed(
        self,
        storage: AsyncStorage,
        own: Own,
        status: Status,
        due: Any,
        is_claimable: bool,  # noqa: FBT001
    ) -> None:
        if isinstance(due, tuple):
            due = (datetime.now(UTC) + due[0]).astimezone(due[1])
        await storage.insert(own.instance(status=status, due_at=due))
        async with storage.runner(workflows=[own.workflow]) as runner:
            claim = await runner.claim(own.id())
            assert (claim is not None) is is_claimable

    async def test_a_runner_is_given_only_the_workflows_that_it_names(
        self, storage: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance("a", workflow=f"{own.workflow}.Other"))
        await storage.insert(own.instance("b"))
        async with storage.runner(workflows=[own.workflow]) as runner:
            assert await runner.claim(own.id("a")) is None
            async with asyncio.timeout(_SECONDS):
                claim = await anext(runner.claims())
            assert claim.id == own.id("b")

    async def test_a_failed_attempt_counts_and_after_the_last_nobody_is_given_it(
        self, storage: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with storage.runner(
            workflows=[own.workflow], max_attempts=2, retry_after=lambda _: 0.0
        ) as runner:
            for _ in range(2):
                await _fail(runner, own.id())
                assert (await held(storage, own.id())).runner is None
            assert await runner.claim(own.id()) is None
            assert await storage.release(own.id()) is True
            async with await claimed(runner, own.id()):
                pass

    async def test_a_write_begins_the_count_of_attempts_anew(
        self, storage: AsyncStorage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        async with storage.runner(
            workflows=[own.workflow], max_attempts=2, retry_after=lambda _: 0.0
        ) as runner:
            for _ in range(3):
                await _fail(runner, own.id(), storage)

    async def test_the_next_attempt_waits(self, storage: AsyncStorage, own: Own) -> None:
        await storage.insert(own.instance())
        async with storage.runner(workflows=[own.workflow], retry_after=lambda _: 3600.0) as runner:
            await _fail(runner, own.id())
            assert await runner.claim(own.id()) is None
            later = datetime.now(UTC) + 2 * _HOUR
            assert await storage.count(id=own.id(), due_before=later) == 1
            assert await storage.count(id=own.id(), due_before=later - 2 * _HOUR) == 0
