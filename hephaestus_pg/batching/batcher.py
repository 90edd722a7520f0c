"""Concurrent calls into one statement: group commit, without a timer.

A call on an idle storage goes out at once, as the plain statement that it is. While statements are
under way, requests queue up; a worker that is free takes its part of them and sends it as one
statement, whose parameters are the requests' as arrays. So nobody ever waits for company, and the
busier it is the more calls share a round trip, a plan and a commit. Of many writes one batch is
prefetched while every worker is busy, so that the server has its next statement before this
process has dealt with the answers to the last.

Calls for one id take effect in the order in which they were made: a second one is not sent before
the first is answered. Statements of one kind may overtake each other for different ids.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any

from hephaestus_pg.batching.admission import Admission, Limit
from hephaestus_pg.batching.deadlines import DeadlineTimer
from hephaestus_pg.batching.queue import Request, RequestQueue
from hephaestus_pg.batching.sending import send, settle
from hephaestus_pg.errors import OperationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    from hephaestus_pg.batching.queue import Batchable, Run

NUM_WORKERS = 2
"""Batches sent at once.

With 64 callers on two cores, 1, 3 and 4 put 0.90, 0.96 and 0.91 times as much as 2, and get 0.76,
0.92 to 1.03, and 0.92 times as much.
"""

MAX_ADMITTED = 10_000
"""Calls that may be queued or under way; later ones wait outside."""

MAX_WORKERS = 8
"""Workers at the most, those whose slow statement has given its slot away included."""

SLOW_AFTER = 0.1
"""Seconds after which a statement gives its slot to others: it may wait for a lock."""


class _Slot:
    """A place for a statement under way; it is given to others when the statement is slow."""

    __slots__ = ("batch", "is_held", "slow_at", "task")

    def __init__(self) -> None:
        self.is_held = True
        self.slow_at = inf
        """When the statement under way is slow, a time of the loop's clock."""
        self.batch: list[Request] = []
        """The requests of the statement that is under way."""
        self.task: asyncio.Task[None] | None = None


class Batcher:
    """Queues calls and sends them by ``run``, or by what a ``connection`` gives in its place.

    Batchers may share a ``limit`` of calls, and a count of ``batch_sizes``. A call that is queued
    becomes a ``request``. A worker runs in an empty context: what one caller's holds is not the
    others' business. But ``in_callers_context`` it runs in a copy of that of the call which started
    it.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        run: Run,
        connection: Callable[[], AbstractAsyncContextManager[Run]] | None = None,
        *,
        limit: Limit | None = None,
        batch_sizes: Counter[int] | None = None,
        num_workers: int = NUM_WORKERS,
        slow_after: float = SLOW_AFTER,
        in_callers_context: bool = False,
        request: type[Request] = Request,
    ) -> None:
        self._run = run
        self._connection = connection or (lambda: nullcontext(run))
        self._num_workers = num_workers
        self._slow_after = slow_after
        self._loop = asyncio.get_running_loop()
        self._limit = limit or Limit(MAX_ADMITTED)
        self._admission = Admission(self._limit)
        self._queue = RequestQueue(num_workers, self._admission)
        self._request = request
        self._context = copy_context if in_callers_context else Context
        self._slots_held = 0
        self._workers: set[_Slot] = set()
        self._alone: set[_Slot] = set()
        self._timer = DeadlineTimer(self._expire)
        self._slow_timer = DeadlineTimer(self._give_away)
        self.batch_sizes = Counter[int]() if batch_sizes is None else batch_sizes
        """Batches so far, by the number of calls in each as it was first sent."""

    @property
    def batchers(self) -> list[Batcher]:
        """Itself; see :attr:`KeyedBatcher.batchers`."""
        return [self]

    @property
    def is_idle(self) -> bool:
        """No call is queued, under way, or waiting to be admitted."""
        return not (self._admission.inside or self._admission.waiting)

    @property
    def calls_inside(self) -> int:
        """The number of calls that are queued or under way."""
        return self._admission.inside

    @property
    def ids_held(self) -> int:
        """The number of ids that have a call queued or under way."""
        return self._queue.held_ids

    @property
    def statements_under_way(self) -> int:
        """The number of batches on the server, or on their way there."""
        return len(self._workers) + len(self._alone)

    def row(
        self, deadline: float, statement: Batchable, *arguments: Any
    ) -> Awaitable[Record | None]:
        """The statement's row for these arguments, the first of which is the id; ``None`` if none.

        It is to be awaited at once: only then an idle storage's call begins. At the ``deadline``, a
        time of the loop's clock, it is an :class:`OperationTimeoutError`.

        Cancelled while it waits, the call is not sent. Sent together with others it takes effect or
        fails as if nobody had cancelled, and nobody else notices.
        """
        admission = self._admission
        if not admission.inside and admission.has_room:
            return self._send_alone(deadline, statement, arguments)
        if not admission.try_enter():
            return self._wait_outside(deadline, statement, arguments)
        return self._enqueue(deadline, statement, arguments)

    def stop_timer(self) -> None:
        """Watches no deadline any more, until the next call comes."""
        self._timer.stop()
        self._slow_timer.stop()

    async def _send_alone(
        self, deadline: float, statement: Batchable, arguments: tuple[Any, ...]
    ) -> Record | None:
        """An idle storage's call: no task, no future, in the caller's own context."""
        id = arguments[0]
        slot = _Slot()
        self._admission.try_enter()
        self._alone.add(slot)
        self.batch_sizes[1] += 1
        self._queue.hold(id)
        self._slots_held += 1
        slot.slow_at = self._loop.time() + self._slow_after
        try:
            rows = await self._run(deadline, statement, *arguments)
        finally:
            self._free(slot)
            self._alone.remove(slot)
            self._queue.release(id)
            self._start_worker()
        return rows[0] if rows else None

    async def _wait_outside(
        self, deadline: float, statement: Batchable, arguments: tuple[Any, ...]
    ) -> Record | None:
        try:
            await self._admission.enter(deadline)
        except TimeoutError:
            raise OperationTimeoutError.before_sending() from None
        return await self._enqueue(deadline, statement, arguments)

    def _enqueue(
        self, deadline: float, statement: Batchable, arguments: tuple[Any, ...]
    ) -> asyncio.Future[Record | None]:
        """Queues the call, for a worker or for the call before it on the same id."""
        request = self._request(self._loop.create_future(), deadline, statement, arguments)
        if deadline < self._timer.next:
            self._timer.set(deadline)
        try:
            self._queue.add(request)
        except BaseException:  # such as one that a signal handler raises
            self._admission.leave()
            raise
        if self._slots_held < self._num_workers:
            try:
                self._start_worker()
            except BaseException:  # a task factory of the user's, for one
                request.answer.cancel()
                raise
        elif self._slow_timer.next == inf:
            self._watch()
        return request.answer

    def _expire(self, now: float) -> float:
        """Fails the requests whose deadline has passed; returns the next deadline."""
        following = inf
        under_way = chain.from_iterable(slot.batch for slot in self._workers)
        for sent, requests in ((True, under_way), (False, self._queue)):
            for request in requests:
                if request.answer.done():
                    continue
                if request.deadline <= now:
                    expired = _expired() if sent else OperationTimeoutError.before_sending()
                    request.answer.set_exception(expired)
                else:
                    following = min(following, request.deadline)
        return following

    def _start_worker(self) -> None:
        """Starts a worker, if requests are ready and a slot is free; else they wait for one."""
        if not self._queue.has_ready:
            return
        if self._slots_held >= self._num_workers:
            self._watch()
        elif len(self._workers) < MAX_WORKERS:
            slot = _Slot()
            self._slots_held += 1
            self._workers.add(slot)
            work = self._work(slot)
            try:
                # Not by create_task(context=…), which a task factory of the user's may not know.
                slot.task = self._context().run(self._loop.create_task, work)
            except BaseException:
                work.close()
                self._workers.remove(slot)
                self._free(slot)
                raise
            slot.task.add_done_callback(partial(self._worker_ended, slot))

    async def _work(self, slot: _Slot) -> None:
        async with self._connection() as run:
            while slot.is_held and (batch := self._queue.next_batch()):
                slot.batch = batch
                slot.slow_at = self._loop.time() + self._slow_after
                self._start_worker()  # for what this batch leaves
                self.batch_sizes[len(batch)] += 1
                await send(run, batch, self._queue)
                slot.batch = []
                slot.slow_at = inf
                if not self._queue.has_prefetch:
                    # Those who are answered run now, and what they ask next goes along.
                    await asyncio.sleep(0)
            self._free(slot)
            self._start_worker()

    def _worker_ended(self, slot: _Slot, _: object) -> None:
        """Clears up behind a worker, however it ended: its task may be cancelled at any moment.

        A program that ends by cancelling all of its tasks cancels workers with the rest, some of
        them before they have begun.
        """
        self._workers.remove(slot)
        self._free(slot)
        settle(slot.batch, self._queue)
        if any(not request.answer.done() for request in self._queue):
            self._start_worker()

    def _free(self, slot: _Slot) -> None:
        if slot.is_held:
            slot.is_held = False
            self._slots_held -= 1

    def _watch(self) -> None:
        """Has slots given away whose statements turn out to be slow: somebody waits for one."""
        self._slow_timer.set(min(slot.slow_at for slot in (*self._workers, *self._alone)))

    def _give_away(self, now: float) -> float:
        """Lets others have the slots of slow statements; who waits still has it called again."""
        for slot in (*self._workers, *self._alone):
            if slot.slow_at <= now:
                slot.slow_at = inf
                self._free(slot)
        self._start_worker()
        return inf


def _expired() -> OperationTimeoutError:
    return OperationTimeoutError(
        "the deadline passed while the statement was under way", applied="unknown", retryable=True
    )
