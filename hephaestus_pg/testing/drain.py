"""Draining: a runner's own loop, run until nothing is left to do."""

from __future__ import annotations

from contextlib import contextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING

from hephaestus_pg.errors import InvalidTypeError, LifecycleError
from hephaestus_pg.runners.draining import Draining
from hephaestus_pg.runners.runner import Runner
from hephaestus_pg.values.arguments import whole_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

MOST = 1_000_000
"""The highest ``limit``."""

_ADVICE = "give an async function that takes the runner"


async def drain(
    runner: Runner, work: Callable[[Runner], Awaitable[object]], *, limit: int = 1_000
) -> int:
    """Runs ``work(runner)`` until nothing is due; returns how many claims it was given.

    Meanwhile ``runner.claims()``, in however many tasks, does not wait but ends: as soon as nothing
    can be claimed, and no claim is open whose body might make something due. So what the bodies
    insert is done too, and what is due later is not. What ``work`` raises is raised.

    ::

        async def work(runner):
            async for claim in runner.claims():
                async with claim as order:
                    ...  # and in the end the order is completed

        assert await drain(runner, work) == 3

    Args:
        runner: The runner, which nobody else iterates over.
        work: The loop, as it runs in production. It enters each claim that it takes.
        limit: Claims after which it does not go on.

    Raises:
        LifecycleError: There were more claims than the ``limit``, or others iterate over the
            runner's claims.
        RunnerEndedError: The runner is dead or stopped.
    """
    if not isinstance(runner, Runner):
        raise InvalidTypeError("runner", runner, "give a started runner")
    if not callable(work):
        raise InvalidTypeError("work", work, _ADVICE)
    whole_number("limit", limit, MOST)
    with _draining(runner, limit) as draining:
        try:
            await _begun(work, runner)
        except BaseException as error:
            if draining.is_over_limit:
                raise draining.error() from error
            raise
    if draining.is_over_limit:
        raise draining.error()
    return draining.handed_out


@contextmanager
def _draining(runner: Runner, limit: int) -> Iterator[Draining]:
    """In the block the runner's claims end where nothing can be claimed and none is open."""
    runner._require_running()
    claiming = runner._claiming
    if claiming.draining is not None or claiming.is_waited_for:
        raise LifecycleError(
            runner.storage_name,
            f"others iterate over the claims of the runner {runner.name!r}, and would end with the "
            "drain: end them first, or drain a runner of its own",
        )
    draining = claiming.draining = Draining(runner.storage_name, limit)
    claiming.look_at_once()
    try:
        yield draining
    finally:
        claiming.draining = None


def _begun(work: Callable[[Runner], Awaitable[object]], runner: Runner) -> Awaitable[object]:
    done = work(runner)
    if not isawaitable(done):
        raise InvalidTypeError("work", work, _ADVICE)
    return done
