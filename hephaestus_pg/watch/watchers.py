"""Those who wait for instances: one look at the table serves them all."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import contextmanager, suppress
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING

from hephaestus_pg.errors import DatabaseError, HephaestusError, OperationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from asyncpg import Record

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.values.instance import Instance
    from hephaestus_pg.watch.news import News

logger = logging.getLogger("hephaestus_pg")

LOOK_SECONDS = 3.0
"""Seconds between two looks at everything, for what nobody has told."""

ANSWER_SECONDS = 1.0
"""Seconds that a look may take, and twice as many after each but the first that failed: the
connection may be dead, or the server slow."""

_MOST_TIMES = 4
"""At the most so many times, once a look has a connection: that may be dead, and others alive.

To get one it may take up to the storage's timeout: where opening takes long, it would never be done
if each look began it anew. So after an outage it is late by as long as that lasted, at the most.
"""

CHUNK_IDS = 1_000
"""Ids that one statement looks at, and half as many after each that took too long."""


class Watcher:
    """One who waits: the rows of the newest states that it has not taken yet, by id.

    Each reads them by itself, so that what one changes in its instance no other sees.
    """

    def __init__(self, ids: Iterable[str], decode: Callable[[Record], Instance]) -> None:
        self.ids = frozenset(ids)
        self._decode = decode
        self.seen: dict[str, int] = {}
        """The newest revisions so far, by id."""
        self._new: dict[str, Record] = {}
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    def offer(self, row: Record) -> None:
        """Takes the row of a state, unless a newer one has been there."""
        id, revision = row["id"], int(row["revision"])
        if revision > self.seen.get(id, -1):
            self.seen[id] = revision
            self._new[id] = row
            self._changed.set()

    def fail(self, error: Exception) -> None:
        """Raises the ``error`` in whoever waits."""
        self._error = error
        self._changed.set()

    async def next(self) -> Instance:
        """The next newer state, the latest of its id.

        Raises:
            CorruptInstanceError: Its row cannot be read.
        """
        while not self._new:
            if self._error is not None:
                if isinstance(self._error, HephaestusError):
                    raise copy(self._error)  # others raise it too
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._decode(self._new.pop(next(iter(self._new))))


class Watchers:
    """The watchers of a storage, and the task that looks for all of them.

    It looks at the ids that it is told of, and every :data:`LOOK_SECONDS` at all: for writers that
    tell nobody, and for notifications that were lost. There is no task while nobody waits. It has
    the context in which this was made, which hooks of the pool may read.
    """

    def __init__(self, executor: PoolExecutor, serializer: Serializer) -> None:
        self._executor = executor
        self._serializer = serializer
        self._by_id: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._ids_to_look_at: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._context = copy_context()
        self._chunk_ids = CHUNK_IDS
        self._failures = 0
        self._seconds = ANSWER_SECONDS
        self._is_closed = False
        self.looks = 0
        """The number of looks so far."""

    def __len__(self) -> int:
        return len(self._by_id)

    @contextmanager
    def watching(self, ids: Iterable[str]) -> Iterator[Watcher]:
        """A watcher of these ids, which is told their present states first."""
        watcher = Watcher(ids, self._serializer.decode)
        for id in watcher.ids:
            self._by_id[id].add(watcher)
        self.look(watcher.ids)
        try:
            yield watcher
        finally:
            for id in watcher.ids:
                self._by_id[id].discard(watcher)
                if not self._by_id[id]:
                    del self._by_id[id]
            if not self._by_id:
                self._wake.set()  # which ends the task

    def hear(self, news: News) -> None:
        """Looks at what was written, if anybody waits for that."""
        ids = self._by_id.keys() if news.ids is None else news.ids & self._by_id.keys()
        if ids:
            self.look(ids)

    def look(self, ids: Iterable[str]) -> None:
        """Looks at these ids soon."""
        self._ids_to_look_at.update(ids)
        self._wake.set()
        self._start()

    async def close(self, error: Exception) -> None:
        """Raises the ``error`` in all who wait, and looks no more."""
        self._fail(error)
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _fail(self, error: Exception) -> None:
        for watcher in {each for watchers in self._by_id.values() for each in watchers}:
            watcher.fail(error)

    def _start(self) -> None:
        is_there = self._task is not None and not self._task.done()
        if self._by_id and not is_there and not self._is_closed:
            self._task = self._context.copy().run(asyncio.create_task, self._work())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is not self._task:  # somebody came before this was called
            return
        self._task = None
        if self._by_id:  # not at once: who cancels every task mostly ends the loop
            task.get_loop().call_later(LOOK_SECONDS, self._start)

    async def _work(self) -> None:
        now = asyncio.get_running_loop().time
        all_due = now() + LOOK_SECONDS
        while self._by_id:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(all_due):
                    await self._wake.wait()
            self._wake.clear()
            ids, self._ids_to_look_at = self._ids_to_look_at & self._by_id.keys(), set()
            if now() >= all_due:  # however often it was told of some
                ids, all_due = set(self._by_id), now() + LOOK_SECONDS
            try:
                await self._look_at(sorted(ids))
            except Exception as error:  # noqa: BLE001 - a hook or a codec may raise anything
                if not (isinstance(error, DatabaseError) and error.retryable):
                    self._fail(error)
                    return
                self._look_again(ids, error)
            else:
                self._failures = 0
                self._seconds = ANSWER_SECONDS

    def _look_again(self, ids: set[str], error: DatabaseError) -> None:
        self._failures += 1  # the first may have been slow, and one line an outage is enough
        level = logging.WARNING if self._failures == 2 else logging.DEBUG  # noqa: PLR2004
        logger.log(level, "a look at what is waited for failed, and comes again: %s", error)
        if self._failures > 1:
            self._seconds *= 2
        self._ids_to_look_at |= ids
        if isinstance(error, OperationTimeoutError):  # another connection may be alive
            self._chunk_ids = max(1, self._chunk_ids // 2)
            self._wake.set()

    async def _look_at(self, ids: list[str]) -> None:
        while ids:
            # Those who come while it is under way may know of something newer than it sees.
            chunk, ids = ids[: self._chunk_ids], ids[self._chunk_ids :]
            watchers = {id: [*self._by_id[id]] for id in chunk if id in self._by_id}
            with self._executor.operation("look", None, None) as latest:
                rows = await self._executor.fetch(
                    min(latest, asyncio.get_running_loop().time() + self._seconds),
                    self._executor.statements.changed,
                    list(watchers),
                    [_seen_by_all(id, watchers[id]) for id in watchers],
                    work_timeout=min(self._seconds, _MOST_TIMES * ANSWER_SECONDS),
                )
            self.looks += 1
            self._chunk_ids = min(2 * self._chunk_ids, CHUNK_IDS)
            for row in rows:
                for watcher in watchers[row["id"]]:
                    watcher.offer(row)


def _seen_by_all(id: str, watchers: list[Watcher]) -> str | None:
    """Returns the revision that all of the ``watchers`` have seen, ``None`` for none."""
    oldest = min((watcher.seen.get(id, -1) for watcher in watchers), default=-1)
    return None if oldest < 0 else str(oldest)
