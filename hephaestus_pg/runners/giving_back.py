"""Giving instances back: at the end of a scope, and again later where that fails."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import DatabaseError, HephaestusError
from hephaestus_pg.verbs import reconcile

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from contextvars import Context

    from asyncpg import Record

    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.runners.claim import Claim
    from hephaestus_pg.runners.holdings import Holdings
    from hephaestus_pg.verbs.reconcile import Verdict

logger = logging.getLogger("hephaestus_pg")

RETRY_SECONDS = 1.0
"""Seconds between two tries to give an instance back."""


class GivingBack:
    """Gives back what the runner with that ``token`` owns, and drops it from ``held``.

    ``delays`` are the seconds to wait after the n-th failed attempt, separated by commas.
    """

    def __init__(self, executor: Executor, held: Holdings, *, token: str, delays: str) -> None:
        self._executor = executor
        self._held = held
        self.token = token
        self._delays = delays
        self._tasks: set[asyncio.Task[Any]] = set()
        self._later: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    async def end_claim(self, claim: Claim, *, failed: bool) -> bool:
        """Gives back what a scope held, after a ``failed`` attempt or not; ``False``: it was lost.

        A caller's cancellation leaves it to its end.
        """
        work = self._end_claim(claim, failed=failed)
        return bool(await asyncio.shield(self._run(work, claim.context)))

    async def _send_back(self, id: str, *, failed: bool) -> bool:
        """Gives the row back; ``False`` if it was not this runner's."""
        statements = self._executor.statements
        statement, more = (statements.fail, (self._delays,)) if failed else (
            statements.give_back, ()
        )  # fmt: skip

        def verdict(held: Record | None) -> Verdict:
            is_ours = held is not None and held["runner"] == self.token
            return "retry" if is_ours else "applied"

        with self._executor.operation("give_back", id, None) as deadline:
            applied, _ = await reconcile.write(
                self._executor, statement, verdict, deadline, id, self.token, *more
            )
        return applied

    async def give_back(
        self, id: str, *, failed: bool = False, context: Context | None = None
    ) -> None:
        """Gives back what nobody waits for any more; a cancellation leaves it to its end.

        It does so in the ``context``, if that is given: hooks of the pool may read it.
        """
        await asyncio.shield(self._run(self._give_back(id, failed=failed), context))

    @contextmanager
    def unless_it_returns(self, id: str) -> Iterator[None]:
        """Gives the row back soon if the block raises: it may be ours, and nobody would know."""
        with self._held.expecting(id):
            try:
                yield
            except BaseException as error:
                applied = getattr(error, "applied", "")
                is_unsure = not isinstance(error, HephaestusError) or applied == "unknown"
                if is_unsure and id not in self._held:  # else it has a claim that gives it back
                    self._soon(id, failed=False)
                raise

    def stop(self) -> None:
        """Tries nothing later any more: all is given back at once."""
        self._is_stopped = True
        for task in self._later:
            task.cancel()

    async def _give_back(self, id: str, *, failed: bool) -> None:
        try:
            await self._send_back(id, failed=failed)
        except DatabaseError as error:
            self._try_later(id, error, failed=failed)
        else:
            self._held.drop(id)

    async def _end_claim(self, claim: Claim, *, failed: bool) -> bool:
        id = claim.id
        with self._held.expecting(id):  # a caller that is cancelled forgets it before its end
            try:
                return await self._send_back(id, failed=failed)
            except DatabaseError as error:
                self._try_later(id, error, failed=failed)
                return True

    def _try_later(self, id: str, error: DatabaseError, *, failed: bool) -> None:
        if not self._is_stopped:
            logger.warning("%r is given back later: %s", id, error)
        self._soon(id, failed=failed)

    def _soon(self, id: str, *, failed: bool) -> None:
        if self._is_stopped:  # a task that outlives its runner would meet a closed storage
            return
        # A row of ours that nobody holds would be taken for a new claim.
        self._held.reserve(id)
        task = self._run(self._retry(id, failed=failed))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _retry(self, id: str, *, failed: bool) -> None:
        try:
            while True:
                await asyncio.sleep(RETRY_SECONDS)
                with suppress(DatabaseError):
                    await self._send_back(id, failed=failed)
                    return
        finally:
            self._held.drop(id)

    def _run(
        self, work: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        # Not by create_task(context=…), which a task factory of the user's may not know.
        given = copy_context() if context is None else context.copy()
        task = given.run(asyncio.create_task, work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
