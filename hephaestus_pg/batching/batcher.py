"""Concurrent calls into one statement: group commit, without a timer.

A call on an idle storage goes out at once, as the plain statement that it is. While statements are
under way, calls gather; whenever a lane is free it takes its share of what has gathered and sends
it as one statement, ``<statement>_many``, whose parameters are the calls' as arrays. So nobody ever
waits for company, and the busier it is the more calls share a round trip, a plan and a commit.
Of many writes one share waits while every lane is busy, so that the server has its next statement
before this process has dealt with the answers to the last.

Calls for one id take effect in the order in which they were made: a second one is not sent before
the first is answered. Statements of one kind may overtake each other for different ids.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from contextvars import Context, copy_context
from copy import copy
from functools import partial
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any

from hephaestus_pg.batching.admission import Places
from hephaestus_pg.batching.deadlines import Alarm
from hephaestus_pg.batching.queue import Call, Calls
from hephaestus_pg.errors import (
    AccessDeniedError,
    ConflictError,
    HephaestusError,
    OperationInterruptedError,
    OperationTimeoutError,
    RejectedError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    Run = Callable[..., Awaitable[Sequence[Record]]]
    """Runs a statement: its deadline, its name, its arguments."""

LANES = 2
"""Statements under way at once.

Beside two, 1, 3 and 4 of them let 64 callers put 0.90, 0.96 and 0.91 times as much, and get 0.76,
0.92 to 1.03 and 0.92 times, on two cores.
"""

MAX_WAITING = 10_000
"""Calls that may be gathered or under way; past it, callers wait for their turn to join them."""

MAX_LANES = 8
"""Lanes at the most, those that wait for somebody else's lock included."""

PATIENCE = 0.1
"""Seconds after which a statement under way keeps no lane from others: it may wait for a lock."""


# One call may be the cause, of which its neighbours in the statement know nothing; or that they are
# so many, where a role has a statement_timeout that each of them would keep.
_OF_ONE = (RejectedError, AccessDeniedError, ConflictError, OperationTimeoutError)


class _Slot:
    """The right to have statements under way; it counts until it is left or given away."""

    __slots__ = ("batch", "counted", "task")

    def __init__(self) -> None:
        self.counted = True
        self.batch: list[Call] = []
        """The calls of the statement that is under way."""
        self.task: asyncio.Task[None] | None = None


class Batcher:
    """Gathers calls and sends them by ``run``, or by what a ``lane`` has in its place.

    A lane runs in an empty context: what one caller's holds is not the others' business. But
    ``in_callers_context`` it runs in a copy of that of the call which opened it.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        run: Run,
        lane: Callable[[], AbstractAsyncContextManager[Run]] | None = None,
        *,
        lanes: int = LANES,
        max_waiting: int = MAX_WAITING,
        patience: float = PATIENCE,
        in_callers_context: bool = False,
    ) -> None:
        self._run = run
        self._connected = lane or (lambda: nullcontext(run))
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._lanes = lanes
        self._places = Places(max_waiting)  # for calls that are gathered or under way
        self._calls = Calls(lanes, self._places)
        self._context = copy_context if in_callers_context else Context
        self._busy = 0
        self._running: set[_Slot] = set()
        self._alarm = Alarm(self._expire)

    @property
    def idle(self) -> bool:
        """Whether no call waits or is under way."""
        return not self._places.taken

    def row(self, deadline: float, statement: str, *arguments: Any) -> Awaitable[Record | None]:
        """The statement's row for these arguments, the first of which is the id; ``None`` if none.

        It is to be awaited at once: only then an idle storage's call begins. At the ``deadline``, a
        time of the loop's clock, it is an :class:`OperationTimeoutError`.

        Cancelled while it waits, the call is not sent. Sent together with others it takes effect or
        fails as if nobody had cancelled, and nobody else notices.
        """
        places = self._places
        if not places.taken:
            return self._alone(deadline, statement, arguments)
        if places.taken >= places.number:
            return self._in_turn(deadline, statement, arguments)
        places.taken += 1
        return self._gathered(deadline, statement, arguments)

    def stop_clock(self) -> None:
        """Look at no deadline any more, until the next call comes."""
        self._alarm.stop()

    async def _alone(
        self, deadline: float, statement: str, arguments: tuple[Any, ...]
    ) -> Record | None:
        """An idle storage's call: no task, no future, in the caller's own context."""
        id = arguments[0]
        slot = _Slot()
        self._places.taken += 1
        self._calls.hold(id)
        self._busy += 1
        overdue = self._loop.call_later(self._patience, self._give_away, slot)
        try:
            rows = await self._run(deadline, statement, *arguments)
        finally:
            overdue.cancel()
            self._leave(slot)
            self._calls.finish(id)
            self._open_lane()
        return rows[0] if rows else None

    async def _in_turn(
        self, deadline: float, statement: str, arguments: tuple[Any, ...]
    ) -> Record | None:
        """A call that has to wait for its place inside; who came first goes in first."""
        try:
            await self._places.wait(deadline)
        except TimeoutError:
            raise _expired(sent=False) from None
        return await self._gathered(deadline, statement, arguments)

    def _gathered(
        self, deadline: float, statement: str, arguments: tuple[Any, ...]
    ) -> asyncio.Future[Record | None]:
        """Let the call wait, for a lane or for the call before it on the same id."""
        call = Call(self._loop.create_future(), deadline, statement, arguments)
        self._alarm.set(deadline)
        self._calls.add(call)
        try:
            self._open_lane()
        except BaseException:  # a task factory of the user's, for one
            call.answer.cancel()
            raise
        return call.answer

    def _expire(self, now: float) -> float:
        """Answer those whose deadline has come that there is no answer; the next deadline."""
        following = inf
        under_way = chain.from_iterable(slot.batch for slot in self._running)
        for sent, calls in ((True, under_way), (False, self._calls)):
            for call in calls:
                if call.answer.done():
                    continue
                if call.deadline <= now:
                    call.answer.set_exception(_expired(sent=sent))
                else:
                    following = min(following, call.deadline)
        return following

    def _open_lane(self) -> None:
        """Have a lane, if there is a free one, look at what is gathered."""
        if self._calls.ready and self._busy < self._lanes and len(self._running) < MAX_LANES:
            slot = _Slot()
            self._busy += 1
            self._running.add(slot)
            lane = self._lane(slot)
            try:
                # Not by create_task(context=…), which a task factory of the user's may not know.
                slot.task = self._context().run(self._loop.create_task, lane)
            except BaseException:
                lane.close()
                self._running.remove(slot)
                self._leave(slot)
                raise
            slot.task.add_done_callback(partial(self._lane_ended, slot))

    async def _lane(self, slot: _Slot) -> None:
        async with self._connected() as run:
            while slot.counted and (batch := self._calls.share()):
                slot.batch = batch
                self._open_lane()  # for what this share leaves
                overdue = self._loop.call_later(self._patience, self._give_away, slot)
                try:
                    await self._send(run, batch)
                finally:
                    overdue.cancel()
                slot.batch = []
                if not self._calls.spare_ready:
                    # Those who are answered run now, and what they ask next goes along.
                    await asyncio.sleep(0)
            self._leave(slot)
            self._open_lane()

    def _lane_ended(self, slot: _Slot, _: object) -> None:
        """Clear up behind a lane, however it ended: its task may be cancelled at any moment.

        A program that ends by cancelling all of its tasks cancels lanes with the rest, some of them
        before they have begun.
        """
        self._running.remove(slot)
        self._leave(slot)
        self._settle(slot.batch)
        if any(not call.answer.done() for call in self._calls):
            self._open_lane()

    def _leave(self, slot: _Slot) -> None:
        if slot.counted:
            slot.counted = False
            self._busy -= 1

    def _give_away(self, slot: _Slot) -> None:
        """Let others have the slot of a statement that takes too long: it may wait for a lock."""
        self._leave(slot)
        self._open_lane()

    async def _send(self, run: Run, batch: list[Call]) -> None:
        """Send the calls as one statement, and answer each with its row."""
        deadline = max([call.deadline for call in batch])
        statement = batch[0].statement
        began = self._loop.time()
        try:
            if len(batch) == 1:
                [call] = batch
                rows = await run(deadline, statement, *call.arguments)
                answers = {call.id: rows[0]} if rows else {}
            else:
                ids, *rest = map(list, zip(*[call.arguments for call in batch], strict=True))
                rows = await run(deadline, f"{statement}_many:gathered", ids, *rest)
                answers = {row["id"]: row for row in rows}
                if len([id for id in ids if id in answers]) < len(answers):
                    # Whose the others are, nobody can tell; each verb refuses one not its own.
                    stray = answers[min(answers.keys() - set(ids))]
                    answers = {id: answers.get(id, stray) for id in ids}
        except _OF_ONE as error:
            now = self._loop.time()
            late = isinstance(error, OperationTimeoutError) and deadline - now < now - began
            if len(batch) > 1 and error.applied == "no" and not late:
                # The halves without the one that is to blame go through, and wait for none.
                middle = len(batch) // 2
                await asyncio.gather(
                    self._send(run, batch[:middle]),
                    self._send(run, batch[middle:]),
                    return_exceptions=True,  # of a half that somebody cancelled
                )
                self._settle(batch)
                return
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - it is the callers'
            self._fail(batch, error)
        else:
            for call in batch:
                if not call.answer.done():
                    call.answer.set_result(answers.get(call.id))
        self._finish(batch)

    @staticmethod
    def _fail(batch: list[Call], error: Exception) -> None:
        for call in batch:
            if not call.answer.done():
                # Each caller's traceback is its own. What is not ours need not bear being copied.
                ours = isinstance(error, HephaestusError)
                own = copy(error) if ours else OperationInterruptedError()
                own.__cause__ = error.__cause__ if ours else error
                call.answer.set_exception(own)

    def _settle(self, batch: list[Call]) -> None:
        """Answer the calls that something else than their statement has ended, if any."""
        for call in batch:
            if not call.answer.done():
                call.answer.set_exception(OperationInterruptedError())
        self._finish(batch)

    def _finish(self, batch: list[Call]) -> None:
        """Let the next calls for the same ids go on."""
        ended = []
        for call in batch:
            if not call.finished:
                call.finished = True
                ended.append(call.id)
        self._calls.finish(*ended)


def _expired(*, sent: bool) -> OperationTimeoutError:
    return OperationTimeoutError(
        "the deadline passed "
        + ("while the statement was under way" if sent else "before the statement was sent"),
        applied="unknown" if sent else "no",
        retryable=True,
    )
