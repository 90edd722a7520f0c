"""A runner: the owner of instances in this process, with a name, a lease and a heartbeat."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hephaestus_pg.errors import (
    ClaimLostError,
    CorruptInstanceError,
    HephaestusError,
    RejectedError,
    RunnerEndedError,
    StorageClosedError,
)
from hephaestus_pg.execution.iterating import Iteration
from hephaestus_pg.execution.statements import outdated
from hephaestus_pg.runners.claim import Claim, Claims
from hephaestus_pg.runners.claiming import Claiming
from hephaestus_pg.runners.giving_back import GivingBack
from hephaestus_pg.runners.heartbeat import Heartbeat
from hephaestus_pg.runners.holdings import Holdings
from hephaestus_pg.runners.settings import delays_text
from hephaestus_pg.values.instance import checked_id
from hephaestus_pg.verbs import reconcile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager
    from contextvars import Context

    from asyncpg import Connection, Record

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.lifecycle import Lifecycle
    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.runners.settings import Settings
    from hephaestus_pg.values.instance import Instance
    from hephaestus_pg.verbs.pruning import Verbs
    from hephaestus_pg.verbs.reconcile import Verdict

logger = logging.getLogger("hephaestus_pg")

UNWIND_SECONDS = 5.0
"""Seconds that a stopped runner waits for its cancelled bodies, before it gives back regardless."""


class Runner:
    """Owns instances for this process, from ``storage.runner`` on until it is stopped or dead.

    It belongs to its storage's event loop and process. Its lease is kept by a heartbeat on a thread
    and a connection of its own. Dead, it is never alive again: its claims are lost, their bodies
    cancelled, and what asks it for more raises a :class:`RunnerEndedError`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that its storage gives it
        self,
        verbs: Verbs,
        executor: PoolExecutor,
        serializer: Serializer,
        settings: Settings,
        claims: Claims,
        connect: Callable[[], Awaitable[Connection[Any]]],
        hearing: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.token = uuid4()
        """Its token, which nobody else ever has: ``Instance.runner`` of what it owns."""
        self.name = settings.name
        self._verbs = verbs
        self._executor = executor
        self._serializer = serializer
        self._settings = settings
        self._claims = claims
        self._held = Holdings(claims)
        self._hearing = hearing
        self._context = copy_context()  # which hooks of the pool may read
        self._while_alive = ExitStack()
        self._end: RunnerEndedError | None = None
        self._is_dead = False
        self._stopping: asyncio.Task[None] | None = None
        self._giving_back = GivingBack(
            executor, self._held, token=str(self.token), delays=delays_text(settings.delays)
        )
        self._heartbeat = Heartbeat(
            connect,
            executor.statements,
            token=str(self.token),
            name=settings.name,
            workflows=list(settings.workflows),
            lease=settings.lease,
            max_stall=settings.max_stall,
            on_death=self._die,
        )
        self._claiming = Claiming(executor, serializer, settings, self._held, self._giving_back)

    def __repr__(self) -> str:
        return f"<Runner {self.name!r} {self.token}, {len(self._held)} claims>"

    @property
    def storage_name(self) -> str:
        """The name of its storage."""
        return self._lifecycle.name

    @property
    def _lifecycle(self) -> Lifecycle:
        return self._executor.lifecycle

    async def start(self) -> None:
        """Registers it; its heartbeat begins.

        Raises:
            DatabaseError: No connection could be had for the heartbeat.
            SchemaOutdatedError: There is no table of runners.
        """
        try:
            await self._heartbeat.start()
        except BaseException as error:
            await asyncio.shield(self._heartbeat.stop())
            if isinstance(error, RejectedError) and error.missing:
                raise outdated(error, self._executor.schema) from error.__cause__
            raise
        self._claims.on_work.add(self._claiming.wake)
        self._while_alive.enter_context(self._hearing())

    def claims(self) -> AsyncIterator[Claim]:
        """Claims of instances as they can be had, the oldest due first, until it is stopped.

        Any number of tasks may iterate at once: one statement claims for all who wait. Enter each
        claim: what is not entered stays owned until the runner is stopped. It goes on after a step
        that ``asyncio.timeout`` has cancelled.

        Raises:
            RunnerEndedError: It is dead.
        """
        # Where hooks of the pool may show who works on it other rows than who started the runner.
        own_context = None if self._executor.shared_by is None else self._context

        async def step() -> Claim:
            self._lifecycle.require_own_loop()
            if (instance := await self._claiming.next()) is None:
                raise StopAsyncIteration
            return self._claim_of(instance, own_context)

        return Iteration(step, lambda: None, self._lifecycle.loop)

    async def claim(self, id: str, *, timeout: float | None = None) -> Claim | None:
        """The claim of that instance, or ``None`` where it can't be claimed now.

        It can't where it is gone, owned, still in a scope of this runner's, finished, waiting for a
        write, not due yet, or of a workflow that is none of this runner's.

        Raises:
            CorruptInstanceError: The row cannot be read; it counts as a failed attempt.
            RunnerEndedError: It is dead or stopped.
        """
        checked_id(id)
        self._require_running()
        if id in self._held:
            return None
        statements, token = self._executor.statements, str(self.token)

        def verdict(held: Record | None) -> Verdict:
            return "applied" if held is not None and held["runner"] == token else "retry"

        with (
            self._giving_back.unless_it_returns(id),
            self._executor.operation("claim", id, timeout) as deadline,
        ):
            _, row = await reconcile.write(
                self._executor, statements.claim_one, verdict, deadline, id, token
            )
        if row is None or id in self._held:
            return None
        try:
            instance = self._serializer.decode(row)
        except CorruptInstanceError:
            await self._giving_back.give_back(id, failed=True)
            raise
        return await self._taken(instance)

    async def insert(self, instance: Instance, *, timeout: float | None = None) -> Claim:
        """Inserts the instance and owns it, in one statement.

        Raises:
            InstanceExistsError: The id is taken.
            InvalidValueError: Its status or its workflow is none that this runner can own.
            RunnerEndedError: It is dead or stopped.
        """
        self._require_running()
        new = self._serializer.encode(instance)
        self._settings.require_ownable(instance, workflow=new.columns[1])
        with self._giving_back.unless_it_returns(new.id):
            stored = await self._verbs._insert(  # noqa: SLF001 - as insert, with an owner
                new, replace_finished=False, runner=str(self.token), timeout=timeout
            )
        return await self._taken(stored)

    async def stop(self) -> None:
        """Hands nothing out any more, and gives back at once what it owns.

        Iterations over :meth:`claims` end. Bodies are cancelled, and their scopes end without an
        error; none of them counts as a failed attempt.
        """
        self._lifecycle.require_own_loop()
        await asyncio.shield(self.stopping(asyncio.current_task()))

    async def _stop(self, caller: asyncio.Task[Any] | None) -> None:
        try:
            if self._end is None:
                self._end = self._ended("it was stopped")
                await self._claiming.end(None)
            self._claims.on_work.discard(self._claiming.wake)
            self._while_alive.close()
            await self._unwind(caller)
            # What a dead one owned is taken over when its lease ends, as after a failed attempt.
            if not self._is_dead:
                statements, token = self._executor.statements, str(self.token)
                with self._executor.operation("stop", None, None) as deadline:
                    if not statements.is_distributed:  # of several shards no locked row is skipped
                        await self._executor.fetch(deadline, statements.free_owned, token)
                    await self._executor.fetch(deadline, statements.end_runner, token)
        except HephaestusError as error:
            logger.warning("runner %s could not give back: %s; its lease ends", self.name, error)
        finally:
            await self._heartbeat.stop()

    async def _unwind(self, caller: asyncio.Task[Any] | None) -> None:
        """Cancels the bodies, and waits for them for a while."""
        for claim in self._held.entered(but=caller):
            claim.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(UNWIND_SECONDS):
                await self._held.left(but=caller)
        self._giving_back.stop()
        for claim in self._held.claims():
            if claim.task is None:  # nobody has entered it
                self._held.ended(claim)
            else:  # the caller's own, and those that ignore it
                claim.stop(cancel=False)

    # What its storage asks of it.

    def stopping(self, caller: asyncio.Task[Any] | None) -> asyncio.Task[None]:
        """Begins to stop it, unless that has begun; does not cancel a body of the ``caller``."""
        if self._stopping is None or self._stopping.cancelled():
            self._stopping = self._context.copy().run(asyncio.create_task, self._stop(caller))
        return self._stopping

    # What tests ask of it; see hephaestus_pg.testing.

    @property
    def is_alive(self) -> bool:
        """Its heartbeats come: it is neither stopped nor dead."""
        return self._end is None and self._heartbeat.is_alive

    def look_at_once(self) -> None:
        """Has its :meth:`claims` look for what is due by now."""
        self._lifecycle.loop.call_soon_threadsafe(self._claiming.look_at_once)

    # What its claims ask of it.

    def require_alive(self, id: str) -> None:
        """See :class:`Owner`."""
        if self._end is None and not self._heartbeat.is_alive:
            self._die("no heartbeat reached the server in time")
        if self._end is not None:
            raise ClaimLostError(id, f"its runner has ended: {self._end.reason}")

    async def give_back(self, claim: Claim, *, failed: bool) -> bool:
        """See :class:`Owner`."""
        return await self._giving_back.end_claim(claim, failed=failed)

    def ended(self, claim: Claim) -> None:
        """See :class:`Owner`."""
        self._held.ended(claim)
        self._claiming.claim_ended()

    async def _taken(self, instance: Instance) -> Claim:
        """Returns the claim of what a statement has just made this runner's."""
        if self._end is not None:  # what has freed the others did not see this one
            with suppress(StorageClosedError):
                await self._giving_back.give_back(instance.id)
        self._held.claimed(instance.id)
        return self._claim_of(instance)

    def _claim_of(self, instance: Instance, context: Context | None = None) -> Claim:
        claim = Claim(self, instance, context)
        self._held.handed_out(claim)
        return claim

    def _die(self, reason: str) -> None:
        if self._end is not None:
            return
        logger.error("runner %s is dead: %s", self.name, reason)
        self._is_dead, self._end = True, self._ended(reason)
        self._heartbeat.end()
        self._claims.on_work.discard(self._claiming.wake)
        self._while_alive.close()
        self._claiming.refuse(self._end)
        for claim in self._held.claims():
            claim.lose(f"its runner is dead: {reason}")

    def _ended(self, reason: str) -> RunnerEndedError:
        return RunnerEndedError(self.storage_name, runner=self.name, reason=reason)

    def _require_running(self) -> None:
        self._lifecycle.require_own_loop()
        if self._end is not None:
            raise copy(self._end)
