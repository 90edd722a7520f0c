"""The verbs that wait for what others write."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import InvalidTypeError, OperationTimeoutError, StorageClosedError
from hephaestus_pg.execution.iterating import Iteration
from hephaestus_pg.execution.lifecycle import checked_timeout
from hephaestus_pg.values.arguments import answered, listed
from hephaestus_pg.values.instance import Instance, Status, checked_id, checked_status
from hephaestus_pg.verbs.observers import Observer
from hephaestus_pg.verbs.pruning import Verbs
from hephaestus_pg.watch.keyed import KeyedWatchers
from hephaestus_pg.watch.listener import Listener
from hephaestus_pg.watch.news import News
from hephaestus_pg.watch.notifier import Outlet
from hephaestus_pg.watch.subscription import Subscription
from hephaestus_pg.watch.watchers import Watcher, Watchers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.values.instance import StatusName
    from hephaestus_pg.watch.recorders import Recorder
    from hephaestus_pg.watch.subscription import Need

    Until = Status | StatusName | Collection[Status | StatusName] | Callable[[Instance], object]


class WatchVerbs(Verbs):
    """Beside the verbs on instances those that wait for their changes, which only a storage has."""

    _pool_executor: PoolExecutor
    """The executor again, by its own type."""

    def __init__(self, executor: PoolExecutor, serializer: Serializer) -> None:
        super().__init__(executor, serializer)
        self._pool_executor = executor
        self._can_listen = executor.shared.can_listen
        channel = channel_of(executor.schema)
        make = partial(Watchers, executor, serializer)
        key = executor.shared_by
        self._watchers = make() if key is None else KeyedWatchers(make, key)
        self._outlet = Outlet(executor, channel)
        self._subscription = Subscription(
            channel,
            executor.statements,
            name=executor.lifecycle.name,
            sender=self._outlet.sender,
            on_news=self._hear,
        )
        self._listener = Listener.of(executor.pool)
        self._observers.add(_Announcer(self._watchers, self._outlet))

    async def wait(
        self, id: str, *, until: Until = Status.FINISHED, timeout: float | None = None
    ) -> Instance:
        """Waits until an instance is as wanted, and returns it as it is then.

        It may not be there yet, or no more: then it waits for that too.

        Args:
            id: The instance's.
            until: A status, several, or a function of the instance that gives true.
            timeout: Seconds to wait at the most; ``None``, the default, is for ever.

        Raises:
            OperationTimeoutError: It was not as wanted by then.
            CorruptInstanceError: Its row cannot be read.
            StorageClosedError: The storage was closed meanwhile.
        """
        is_wanted = _checked_until(until)
        seconds = None if timeout is None else checked_timeout(timeout, float("inf"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        with self._watching([checked_id(id)]) as watcher:
            try:
                async with asyncio.timeout(seconds) as limit:
                    while not is_wanted(instance := await watcher.next()):
                        pass
            except TimeoutError:
                if not limit.expired():
                    raise
                assert seconds is not None
                error = OperationTimeoutError(
                    "the instance was not as wanted", applied="no", retryable=True
                )
                error.complete("wait", id, timeout=seconds, taken=loop.time() - began)
                raise error from None
        return instance

    def watch(self, ids: Iterable[str]) -> AsyncIterator[Instance]:
        """Gives the instances with these ids as they are, and each newer state of one of them.

        Never an older state than before, and always the last; of those in between some may be
        skipped. It goes on until it is left, also after a step that ``asyncio.timeout`` has
        cancelled; without ids it ends at once.

        Raises:
            CorruptInstanceError: A row cannot be read.
            StorageClosedError: The storage was closed meanwhile.
        """
        wanted = list(map(checked_id, listed("ids", ids, "ids", keys=True)))
        scope = ExitStack()
        watcher: Watcher | None = None

        async def step() -> Instance:
            nonlocal watcher
            if not wanted:
                raise StopAsyncIteration
            if watcher is None:
                watcher = scope.enter_context(self._watching(wanted))
            return await watcher.next()

        return Iteration(step, scope.close, self._pool_executor.lifecycle.loop)

    @contextmanager
    def _watching(self, ids: list[str]) -> Iterator[Watcher]:
        self._pool_executor.lifecycle.require_open()
        with (
            self._watchers.watching(ids) as watcher,
            self._listening(self._subscription.everything),
        ):
            yield watcher

    @contextmanager
    def _listening(self, need: Need) -> Iterator[None]:
        """Listens meanwhile, and for a little longer."""
        with need:
            if self._can_listen:
                self._listener.follow(self._subscription)
            yield

    def _hear(self, news: News) -> None:
        self._watchers.hear(news)

    def _note_committed(self, written: Recorder) -> None:
        """Notes that the transaction with these writes has committed."""
        self._watchers.hear(written.news)
        self._outlet.tell(written.told)

    async def _stop_watching(self) -> None:
        self._can_listen = False  # for a runner that starts too late either
        await self._watchers.close(StorageClosedError(self._pool_executor.lifecycle.name))
        try:
            await self._outlet.close()
        finally:
            await self._listener.close(self._subscription)


class _Announcer(Observer):
    """Tells those who wait, here and in other processes, of what is written here."""

    def __init__(self, watchers: Watchers | KeyedWatchers, outlet: Outlet) -> None:
        self._watchers = watchers
        self._outlet = outlet

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        """See :class:`Observer`."""
        del is_certain  # that of a storage always is
        if self._watchers:
            self._watchers.hear(News.of(instance))
        if is_listened:
            self._outlet.written(instance)


def channel_of(schema: str) -> str:
    """Returns the channel of a schema, whose name may be too long for one."""
    return f"hephaestus_pg_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"


def _checked_until(until: Any) -> Callable[[Instance], object]:
    if iscoroutinefunction(until):
        raise InvalidTypeError("until", until, "give a function that is not async")
    if callable(until):
        return partial(answered, "until", until)
    if isinstance(until, str):
        wanted = {checked_status(until)}
    else:
        wanted = set(map(checked_status, listed("until", until, "statuses")))
    if not wanted:
        raise InvalidTypeError("until", until, "give a status, several, or a function")
    return lambda instance: instance.status in wanted
