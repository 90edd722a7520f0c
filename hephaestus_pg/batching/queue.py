"""Requests that wait to be sent: first in, first out for each id, and the oldest first."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

    from asyncpg import Record

    from hephaestus_pg.batching.admission import Admission

Run = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement: its deadline, the statement, its arguments. Gives the rows."""

MAX_ROWS = 256
"""Requests that one statement holds at the most."""

MAX_CHARS = 4 * 2**20
"""Characters of states after which a statement takes no more requests."""

MIN_BATCH = 8
"""Requests below which it does not pay to divide them among workers."""

MIN_PREFETCH = 16
"""Requests below which no batch is prefetched while every worker is busy.

Prefetching lets 64 callers put 1.07 and update 1.11 times as much, but get only 0.95 times: so
reads are never prefetched.
"""


class Batchable(Protocol):
    """A statement that the requests of several callers can share."""

    @property
    def many(self) -> Any:
        """Its sibling, whose parameters are the requests' as arrays."""

    @property
    def kind(self) -> str:
        """``"read"`` is not prefetched: it costs this process more than the server."""


class Request:
    """One caller's statement, the first argument of which is the id; ``answer`` gets its row."""

    __slots__ = ("answer", "arguments", "deadline", "has_ended", "id", "statement")

    def __init__(
        self,
        answer: asyncio.Future[Record | None],
        deadline: float,
        statement: Batchable,
        arguments: tuple[Any, ...],
    ) -> None:
        self.answer = answer
        self.deadline = deadline
        self.statement = statement
        self.arguments = arguments
        self.id: str = arguments[0]
        self.has_ended = False
        """Its statement has ended, or was never sent."""

    @classmethod
    def run_for(cls, run: Run, batch: list[Request]) -> Run:
        """Returns what runs the statement of a batch of such requests: here it is ``run``."""
        del batch
        return run


class RequestQueue:
    """The requests that wait, and the ids of those under way, which hold back later ones.

    A request that its caller gives up stays in the queue, and so inside, until its turn.
    """

    def __init__(self, num_workers: int, admission: Admission) -> None:
        self._num_workers = num_workers
        self._admission = admission
        # Requests whose turn it is, by statement, the statement that has waited longest first.
        self._ready: defaultdict[Batchable, deque[Request]] = defaultdict(deque)
        # The ids with a request that is ready or under way, each with the later requests for it.
        self._waiting_by_id: dict[str, deque[Request] | None] = {}

    def __iter__(self) -> Iterator[Request]:
        waiting = chain(self._ready.values(), filter(None, self._waiting_by_id.values()))
        return chain.from_iterable(waiting)

    @property
    def has_ready(self) -> bool:
        """It is some request's turn."""
        return bool(self._ready)

    @property
    def has_prefetch(self) -> bool:
        """The next statement's requests are enough for a batch of their own."""
        return bool(self._ready) and len(next(iter(self._ready.values()))) >= MIN_PREFETCH

    @property
    def held_ids(self) -> int:
        """The number of ids that have a request ready or under way."""
        return len(self._waiting_by_id)

    def add(self, request: Request) -> None:
        """Queues a request, behind the earlier one for the same id if there is one."""
        id = request.id
        if id not in self._waiting_by_id:
            self._waiting_by_id[id] = None
            self._ready[request.statement].append(request)
        elif (later := self._waiting_by_id[id]) is None:
            self._waiting_by_id[id] = deque([request])
        else:
            later.append(request)

    def hold(self, id: str) -> None:
        """Holds back later requests for an id: one is under way that was never queued."""
        self._waiting_by_id[id] = None

    def release(self, id: str) -> None:
        """Gives the next request for an id its turn, and the place of the last one to others."""
        self._release(id)
        self._admission.leave()

    def end(self, requests: Iterable[Request]) -> None:
        """Releases the ids of requests that have ended, once each."""
        ended = 0
        for request in requests:
            if not request.has_ended:
                request.has_ended = True
                self._release(request.id)
                ended += 1
        self._admission.leave(ended)

    def _release(self, id: str) -> None:
        if later := self._waiting_by_id[id]:
            request = later.popleft()
            self._ready[request.statement].append(request)
        else:
            del self._waiting_by_id[id]

    def next_batch(self) -> list[Request]:
        """The oldest requests for the statement that has waited longest, up to a worker's part."""
        batch: list[Request] = []
        size = 0
        while self._ready and not batch:
            statement, requests = next(iter(self._ready.items()))
            most = self._batch_size(statement)
            while requests and len(batch) < most and size < MAX_CHARS:
                request = requests.popleft()
                if request.answer.done():  # given up while it waited
                    self.end([request])
                    continue
                batch.append(request)
                last = request.arguments[-1]  # the state comes last, and all else is short
                size += len(last) if type(last) is str else 0
            del self._ready[statement]
            if requests:
                self._ready[statement] = requests  # behind the others
        return batch

    def _batch_size(self, statement: Batchable) -> int:
        """A part for each worker, and one to prefetch where there are enough requests for it."""
        inside = self._admission.inside
        size = -(-inside // (self._num_workers + 1))  # rounded up
        if size < MIN_PREFETCH or statement.kind == "read":
            size = -(-inside // self._num_workers)
        return min(max(size, MIN_BATCH), MAX_ROWS)
