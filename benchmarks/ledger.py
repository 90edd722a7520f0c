"""Where the time of a call goes: each moment is charged to the layer that runs just then.

So the layers add up to the time that passed. They are told apart at seams that others use too: the
selector and the connections of the event loop, its tasks, and methods that a layer calls the one
below by. What no longer passes a seam is counted with the layer above it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg
import orjson

from hephaestus_pg import Serializer
from hephaestus_pg.codec.encoded import EncodedInstance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

PATH = "path: verbs, batching, deadlines, retries; the caller"
ENCODING = "encoding: its checks and shape"
DECODING = "decoding: its checks and values"
ORJSON = "orjson"
POOL = "pool: acquire and release"
FETCH = "asyncpg: fetch, up to the sending and from the answer on"
SENDING = "asyncpg: sending (a system call)"
RECEIVING = "asyncpg: taking the answer apart"
LOOP = "event loop: its turns, wake-ups, reading the socket"
WAITING = "waiting for the server (in the selector, or while it has this core)"

LAYERS = (
    PATH, ENCODING, DECODING, ORJSON, POOL, FETCH, SENDING, RECEIVING, LOOP, WAITING
)  # fmt: skip

_SEAMS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (Serializer, ENCODING, ("encode",)),
    (EncodedInstance, DECODING, ("stored", "shared")),
    (Serializer, DECODING, ("decode",)),
    (orjson, ORJSON, ("dumps", "loads")),
    (asyncpg.Pool, POOL, ("acquire", "release")),
    (asyncpg.pool.PoolConnectionHolder, POOL, ("acquire", "release")),
    (asyncpg.Connection, FETCH, ("fetch", "fetchrow")),
    (asyncpg.prepared_stmt.PreparedStatement, FETCH, ("fetch", "fetchrow")),
)


class Ledger:
    """Nanoseconds by layer, since :meth:`start`."""

    def __init__(self) -> None:
        self.spent = Counter[str]()
        self._running = [LOOP]
        self._began = self._since = 0

    def start(self) -> None:
        """Begins anew."""
        self.spent.clear()
        self._began = self._since = time.perf_counter_ns()

    def enter(self, layer: str) -> None:
        """From now on ``layer`` runs, called by the one that ran."""
        self._charge()
        self._running.append(layer)

    def leave(self) -> None:
        """From now on the one below runs again."""
        self._charge()
        self._running.pop()

    def run(self, layer: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of ``function``, which ``layer`` runs."""
        self.enter(layer)
        try:
            return function(*args, **kwargs)
        finally:
            self.leave()

    def send(self, function: Callable[..., Any], data: Any) -> None:
        """Runs ``function``, which gives the server work: it may begin at once, on this core."""
        own = time.thread_time_ns()
        before = self.spent[SENDING]
        self.run(SENDING, function, data)
        own = time.thread_time_ns() - own
        waited = max(0, self.spent[SENDING] - before - own)
        self.spent[SENDING] -= waited
        self.spent[WAITING] += waited

    def _charge(self) -> None:
        now = time.perf_counter_ns()
        self.spent[self._running[-1]] += now - self._since
        self._since = now

    def stop(self) -> tuple[int, Counter[str]]:
        """All that was spent until now, and by layer."""
        self._charge()
        return self._since - self._began, self.spent.copy()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Every seam is watched within the block."""
        with ExitStack() as stack:
            for owner, layer, names in _SEAMS:
                for name in names:
                    if function := getattr(owner, name, None):
                        stack.enter_context(
                            patch.object(owner, name, self._watched(layer, function))
                        )
            yield

    def _watched(self, layer: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = self.run(layer, function, *args, **kwargs)
            return _Steps(self, layer, result) if hasattr(result, "__await__") else result

        @wraps(function)
        async def watched_steps(*args: Any, **kwargs: Any) -> Any:
            return await _Steps(self, layer, function(*args, **kwargs))

        return watched_steps if iscoroutinefunction(function) else watched

    def loop(self) -> asyncio.AbstractEventLoop:
        """An event loop that is watched too."""
        loop = _Loop(self)
        loop.set_task_factory(
            lambda loop, work, **options: asyncio.Task(_awaited(self, work), loop=loop, **options)
        )
        return loop


async def _awaited(ledger: Ledger, work: Any) -> Any:
    return await _Steps(ledger, PATH, work)


class _Steps:
    """An awaitable of a layer: the layer runs until it has to wait, and again from then on."""

    def __init__(self, ledger: Ledger, layer: str, work: Any) -> None:
        self._ledger = ledger
        self._layer = layer
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._work.__await__()
        step, given = steps.send, None
        while True:
            self._ledger.enter(self._layer)
            try:
                waited_for = step(given)
            except StopIteration as end:
                return end.value
            finally:
                self._ledger.leave()
            try:
                step, given = steps.send, (yield waited_for)
            except BaseException as error:  # noqa: BLE001 - it is the layer's
                step, given = steps.throw, error

    def __aenter__(self) -> Awaitable[Any]:
        return _Steps(self._ledger, self._layer, self._work.__aenter__())

    def __aexit__(self, *error: Any) -> Awaitable[Any]:
        return _Steps(self._ledger, self._layer, self._work.__aexit__(*error))


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__(_Selector(ledger))
        self._ledger = ledger

    async def create_connection(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        inner = protocol_factory()
        protocol: Any = _Protocol(self._ledger, inner)
        transport, _ = await super().create_connection(lambda: protocol, *args, **kwargs)
        return transport, inner


class _Selector(selectors.DefaultSelector):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def select(self, timeout: float | None = None) -> Any:
        return self._ledger.run(WAITING, super().select, timeout)


class _Seam:
    """A protocol or a transport as its other side sees it."""

    def __init__(self, ledger: Ledger, inner: Any) -> None:
        self._ledger = ledger
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Protocol(_Seam):
    def connection_made(self, transport: Any) -> None:
        self._inner.connection_made(_Transport(self._ledger, transport))

    def data_received(self, data: bytes) -> None:
        self._ledger.run(RECEIVING, self._inner.data_received, data)


class _Transport(_Seam):
    def write(self, data: Any) -> None:
        self._ledger.send(self._inner.write, data)

    def writelines(self, data: Any) -> None:
        self._ledger.send(self._inner.writelines, data)
