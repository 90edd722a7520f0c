"""Concurrent calls into one statement: group commit, without a timer.

A call on an idle storage goes out at once, as the plain statement that it is. While statements are
under way, calls gather; whenever a lane is free it takes its share of what has gathered and sends
it as one statement, ``<statement>_many``, whose parameters are the calls' as arrays. So nobody ever
waits for company, and the busier it is the more calls share a round trip, a plan and a commit.

Calls for one id take effect in the order in which they were made: a second one is not sent before
the first is answered. Statements of one kind may overtake each other for different ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from copy import copy
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import OperationTimeoutError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncpg import Record

    Run = Callable[..., Awaitable[Sequence[Record]]]

LANES = 2
"""Statements under way at once.

With 1, 2, 3, 4 and 5 of them, 64 callers put 1.9, 2.8, 2.9, 2.5 and 2.5 times as much as with
asyncpg alone, and get 2.6, 3.1, 2.9, 2.3 and 2.4 times as much, on two cores.
"""

MAX_ROWS = 256
"""Calls that one statement holds at the most."""

MAX_BYTES = 4 * 2**20
"""Bytes of text after which a statement takes no more calls."""

MAX_WAITING = 10_000
"""Calls that may be gathered or under way; past it, callers wait for their turn to join them."""

MIN_SHARE = 8
"""Calls below which it does not pay to divide them among lanes."""


class _Call(asyncio.Future["Record | None"]):
    """One caller's statement, the first argument of which is the id; its result is the row."""

    __slots__ = ("arguments", "deadline", "id", "number", "sent", "size", "statement")

    def __init__(
        self,
        number: int,
        deadline: float,
        statement: str,
        arguments: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self.number = number
        self.deadline = deadline
        self.sent = False
        self.statement = statement
        self.arguments = arguments
        self.id: str = arguments[0]
        # The state comes last, and all else is short.
        self.size = len(arguments[-1]) if type(arguments[-1]) is str else 0


class Batcher:
    """Gathers calls and sends them by ``run``: a deadline, a statement, its arguments."""

    def __init__(self, run: Run, *, lanes: int = LANES, max_waiting: int = MAX_WAITING) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._inside = 0
        self._calls: set[_Call] = set()
        # One timer for all: a timer a call costs as much as a third of the call's way through here.
        self._alarm: asyncio.TimerHandle | None = None
        # Callers whose calls have no place inside yet, the oldest first.
        self._outside: deque[asyncio.Future[None]] = deque()
        self._called = 0
        self._gathered = 0
        self._sent = 0
        self._busy = 0
        # Calls whose turn it is, by statement, the oldest first.
        self._ready: dict[str, deque[_Call]] = {}
        # For each id that has a call ready or under way, the later calls for it, if any.
        self._later: dict[str, deque[_Call] | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def row(self, deadline: float, statement: str, *arguments: Any) -> Record | None:
        """The statement's row for these arguments, the first of which is the id; ``None`` if none.

        At the ``deadline``, a time of the loop's clock, it is an :class:`OperationTimeoutError`.

        Cancelled while it waits, the call is not sent. Once sent it takes effect or fails as if
        nobody had cancelled, and nobody else notices.
        """
        if not self._later:
            return await self._alone(deadline, statement, arguments)
        if self._outside or self._inside == self._max_waiting:
            await self._turn(deadline)
        else:
            self._inside += 1
        self._called += 1
        call = _Call(self._called, deadline, statement, arguments, self._loop)
        self._calls.add(call)
        if self._alarm is None or deadline < self._alarm.when():
            self._set_alarm(deadline)
        try:
            self._gather(call)
            return await call
        finally:
            self._calls.discard(call)
            self._leave()

    def stop_clock(self) -> None:
        """Look at no deadline any more, until the next call comes."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self, deadline: float) -> None:
        self.stop_clock()
        self._alarm = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Answer those whose deadline has come that there is no answer."""
        now = self._loop.time()
        self._alarm = None
        waiting = [call for call in self._calls if not call.done()]
        for call in waiting:
            if call.deadline <= now:
                call.set_exception(_expired(sent=call.sent))
        if later := [call.deadline for call in waiting if call.deadline > now]:
            self._set_alarm(min(later))

    async def _turn(self, deadline: float) -> None:
        """Wait for a place inside; who came first goes in first."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._outside.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if not turn.cancelled():
                self._leave()  # the place was given already
            if isinstance(error, TimeoutError):
                raise _expired(sent=False) from None
            raise
        finally:
            self._outside.remove(turn)

    def _leave(self) -> None:
        """Give the place inside to the next, or back."""
        for turn in self._outside:
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1

    async def _alone(
        self, deadline: float, statement: str, arguments: tuple[Any, ...]
    ) -> Record | None:
        """An idle storage's call: no task, no future, in the caller's own context."""
        id = arguments[0]
        self._later[id] = None
        self._busy += 1
        self._sent += 1
        try:
            rows = await self._run(deadline, statement, *arguments)
        finally:
            self._busy -= 1
            self._sent -= 1
            self._release(id)
            self._open_lane()
        return rows[0] if rows else None

    def _gather(self, call: _Call) -> None:
        """Let the call wait, for a lane or for the call before it on the same id."""
        if call.id not in self._later:
            self._later[call.id] = None
            self._make_ready(call)
            self._open_lane()
        elif (later := self._later[call.id]) is None:
            self._later[call.id] = deque([call])
        else:
            later.append(call)

    def _make_ready(self, call: _Call) -> None:
        self._gathered += 1
        self._ready.setdefault(call.statement, deque()).append(call)

    def _release(self, id: str) -> None:
        """The id's call is done with: the next one has its turn."""
        later = self._later[id]
        while later:
            call = later.popleft()
            if not call.done():
                self._make_ready(call)
                return
        del self._later[id]

    def _open_lane(self) -> None:
        """Have a lane, if there is a free one, look at what is gathered."""
        if self._gathered and self._busy < self._lanes:
            self._busy += 1
            # A context of its own: what one caller's holds is not the others' business.
            task = self._loop.create_task(self._lane(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lane(self) -> None:
        try:
            while batch := self._share():
                self._open_lane()  # for what this share leaves
                self._sent += len(batch)
                try:
                    await self._send(batch)
                finally:
                    self._sent -= len(batch)
                    for call in batch:
                        self._release(call.id)
                # Those who are answered run now, and may call again before the next look.
                await asyncio.sleep(0)
        finally:
            self._busy -= 1

    def _share(self) -> list[_Call]:
        """The oldest calls of the statement that has waited longest, as many as are a share."""
        batch: list[_Call] = []
        share = -(-(self._gathered + self._sent) // self._lanes)  # rounded up
        most = min(max(share, MIN_SHARE), MAX_ROWS)
        size = 0
        while self._gathered and not batch:
            calls = min(filter(None, self._ready.values()), key=lambda calls: calls[0].number)
            while calls and len(batch) < most and size < MAX_BYTES:
                call = calls.popleft()
                self._gathered -= 1
                if call.done():  # cancelled while it waited
                    self._release(call.id)
                    continue
                call.sent = True
                batch.append(call)
                size += call.size
        return batch

    async def _send(self, batch: list[_Call]) -> None:
        """Send the calls as one statement, and answer each with its row."""
        deadline = max([call.deadline for call in batch])
        try:
            if len(batch) == 1:
                [call] = batch
                rows = await self._run(deadline, call.statement, *call.arguments)
                answers = {call.id: rows[0]} if rows else {}
            else:
                columns = zip(*[call.arguments for call in batch], strict=True)
                statement = f"{batch[0].statement}_many"
                rows = await self._run(deadline, statement, *map(list, columns))
                answers = {row["id"]: row for row in rows}
        except RejectedError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One of them is to blame: the halves that do not hold it go through.
            middle = len(batch) // 2
            await self._send(batch[:middle])
            await self._send(batch[middle:])
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            for call in batch:
                if not call.done():
                    call.set_result(answers.get(call.id))


def _expired(*, sent: bool) -> OperationTimeoutError:
    return OperationTimeoutError(
        "the deadline passed "
        + ("while the statement was under way" if sent else "before the statement was sent"),
        applied="unknown" if sent else "no",
        retryable=True,
    )


def _fail(batch: list[_Call], error: BaseException) -> None:
    for call in batch:
        if call.done():
            continue
        if isinstance(error, Exception):
            own = copy(error)  # each caller's traceback is its own
            own.__cause__ = error.__cause__
            call.set_exception(own)
        else:
            call.cancel()
