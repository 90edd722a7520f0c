"""Faults by name: what goes wrong with the next statements of a storage, and when."""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import (
    ConnectionLostError,
    DatabaseError,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    RejectedError,
)
from hephaestus_pg.execution.pool_runner import Tries
from hephaestus_pg.execution.statements import Lazy, Statements
from hephaestus_pg.runners.runner import Runner
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.arguments import whole_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.statements import Statement

MOST_TIMES = 1_000_000
"""The largest ``times``."""

_VERBS = {
    "claim_one": "claim",
    "changed": "wait",
    "free_owned": "stop",
    "end_runner": "stop",
    "searches": "query",
}
"""Verbs by their statements, where those have another name. Pages are of ``query`` too."""

_BESIDE = {"register", "beat", "never_idle", "put_many", "delete_many"}
"""Statements that go another way: a runner's own connection, or inside a transaction."""

_NAMES = {name for name, made in vars(Statements).items() if isinstance(made, Lazy)} - _BESIDE
_NAMES |= {"transaction", "check_schema", "migrated_version", "count", *_VERBS.values()}


class Faults:
    """Makes the next statements of a storage fail or wait, in the order in which it is told to.

    ``of`` is a verb, such as ``put``, whether its call goes alone or shares its statement with
    others; ``query`` stands for ``stream`` too, ``wait`` for ``watch``, ``claim`` for what
    ``claims()`` and ``claim(id)`` send, ``give_back`` and ``fail`` for how a claim ends, and
    ``transaction`` for the whole of a ``put_many`` or a ``delete_many``. Without it the fault is
    that of whichever comes next. A statement that is tried again may meet the next fault.

    What runs inside ``storage.transaction()`` or ``storage.using()``, and heartbeats, go on as if
    there were none. A fault that has not happened by the end of the block is an error.

    ::

        with Faults(storage) as faults:
            faults.lose_answer("insert")
            await storage.insert(order)
    """

    def __init__(self, storage: AsyncStorage) -> None:
        if not isinstance(storage, AsyncStorage):
            raise InvalidTypeError("storage", storage, "give a started storage")
        self._storage = storage
        self._runner = storage._pool_executor._runner
        self._planned: list[_Fault] = []
        self._expired: list[Runner] = []
        self.tried: list[str] = []
        """The verbs whose statements were tried, in order."""

    def __enter__(self) -> Self:
        if self._runner.make_tries is not Tries:
            name = self._storage.name
            raise LifecycleError(name, f"the storage {name!r} has faults already: plan them there")
        self._runner.make_tries = self._make_tries
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.make_tries = Tries
        left = [fault for fault in self._planned if not fault.has_begun]
        self.clear()
        for runner in self._expired:
            runner._die("its lease had ended before the server heard of it")
        if left and error is None:
            raise LifecycleError(
                self._storage.name,
                f"planned, and did not happen: {', '.join(map(str, left))}; plan what the test "
                "calls, or clear() it",
            )

    @property
    def planned(self) -> int:
        """The number of faults that have not happened yet."""
        return sum(not fault.has_begun for fault in self._planned)

    def lose_answer(self, of: str | None = None, *, times: int = 1) -> None:
        """Has a statement carried out, and its answer lost with its connection.

        Raises:
            InvalidValueError: Nothing has that name, or that is no number of times.
        """
        self._plan("lose_answer", of, times, ConnectionLostError, is_carried_out=True)

    def break_connection(self, of: str | None = None, *, times: int = 1) -> None:
        """Has the connection break before the server heard of a statement.

        Raises:
            InvalidValueError: Nothing has that name, or that is no number of times.
        """
        self._plan("break_connection", of, times, ConnectionLostError)

    def refuse(
        self, of: str | None = None, *, error: DatabaseError | None = None, times: int = 1
    ) -> None:
        """Has the server refuse a statement; of several calls that share one it is one that fails.

        Args:
            of: The verb.
            error: What is raised, by default a :class:`RejectedError`.
            times: How often.

        Raises:
            InvalidValueError: Nothing has that name, or that is no number of times.
        """
        if error is None:
            error = RejectedError("refused by a test", applied="no", retryable=False)
        if not isinstance(error, DatabaseError):
            raise InvalidTypeError("error", error, "give a DatabaseError, as statements raise")
        self._plan("refuse", of, times, error)

    def delay(self, of: str | None = None) -> Delay:
        """Holds a statement before it is sent, until it is released or the block ends.

        Its call's deadline passes meanwhile. Later calls on its id wait behind it, as always: what
        another writes in between, write in ``storage.transaction()``, or on another storage.

        Raises:
            InvalidValueError: Nothing has that name.
        """
        delay = Delay()
        self._plan("delay", of, 1, None, delay=delay)
        return delay

    async def expire_lease(self, runner: Runner) -> None:
        """Has the server count a runner dead, and free what it owns, as if it was paused for long.

        Others can claim that at once, unless the backoff of the failed attempt is longer than the
        lease was. The runner does not know: its bodies go on until they write, which is stale, or
        end; their scopes raise :class:`ClaimLostError`, and give nothing back. So a body that ends
        here has crashed. The runner hears of it at the end of the block.

        Raises:
            InvalidTypeError: It is no runner of this storage.
        """
        if not isinstance(runner, Runner) or runner not in self._storage._runners:
            raise InvalidTypeError("runner", runner, "give a runner of the storage")
        await runner._heartbeat.stop()
        async with self._storage.transaction() as transaction:

            async def fetch(statement: Statement, *arguments: Any) -> list[Record]:
                return await fetch_rows(transaction.connection, statement.text, arguments)

            await fetch(self._storage._pool_executor.statements.beat, str(runner.token), "0")
            await runner._claiming._takeover.free_dead(fetch)
        self._expired.append(runner)
        for each in self._storage._runners:
            each.look_at_once()

    def clear(self) -> None:
        """Lets everything succeed from now on, and what is held go on."""
        for fault in self._planned:
            if fault.delay is not None:
                fault.delay.release()
        self._planned.clear()

    def _plan(
        self,
        kind: str,
        of: str | None,
        times: int,
        error: DatabaseError | type[ConnectionLostError] | None,
        **options: Any,
    ) -> None:
        if of is not None:
            _check_name(of)
        whole_number("times", times, MOST_TIMES)
        self._planned.append(_Fault(kind, of, times, error, **options))

    def _make_tries(self, *given: Any) -> Tries[Any]:
        tries = Tries[Any](*given)
        tries.work = partial(self._try, tries, tries.work)
        return tries

    async def _try(
        self,
        tries: Tries[Any],
        work: Callable[[AnyConnection], Awaitable[Any]],
        connection: AnyConnection,
    ) -> Any:
        self.tried.append(_names_of(tries)[0])
        return await self._meet(tries, work, connection)

    async def _meet(
        self,
        tries: Tries[Any],
        work: Callable[[AnyConnection], Awaitable[Any]],
        connection: AnyConnection,
    ) -> Any:
        """Does the work, unless a fault is planned for it."""
        verb, sent = _names_of(tries)
        fault = next((each for each in self._planned if each.is_of(verb, sent)), None)
        if fault is None:
            return await work(connection)
        if fault.delay is not None:
            fault.has_begun = True
            await fault.delay._hold()
            self._happened(fault)
            return await work(connection)
        error = fault.raised()
        # Refused it is divided, until the one that is to be refused goes alone.
        if not (tries.is_batch and fault.kind == "refuse" and fault.of != sent):
            self._happened(fault)
        if fault.is_carried_out:
            await work(connection)
        if isinstance(error, ConnectionLostError):
            terminate(connection)
        raise error

    def _happened(self, fault: _Fault) -> None:
        fault.times -= 1
        if not fault.times and fault in self._planned:
            self._planned.remove(fault)


class Delay:
    """A statement that is held: wait for ``started``, then :meth:`release` it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        """Set when it is about to be sent."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Lets it go on."""
        self._released.set()

    async def _hold(self) -> None:
        self.started.set()
        await self._released.wait()


@dataclass(eq=False)
class _Fault:
    kind: str
    of: str | None
    times: int
    error: DatabaseError | type[ConnectionLostError] | None
    is_carried_out: bool = False
    delay: Delay | None = None
    has_begun: bool = field(default=False, init=False)

    def __str__(self) -> str:
        of = "" if self.of is None else repr(self.of)
        return f"{self.kind}({of})" + (f", {self.times} times" if self.times > 1 else "")

    def is_of(self, verb: str, sent: str) -> bool:
        """The statement is one that it is for, and none has it yet."""
        return not self.has_begun and self.of in {None, verb, sent}

    def raised(self) -> DatabaseError:
        """Makes the error, a new one each time."""
        if isinstance(self.error, DatabaseError):
            return copy(self.error)
        return ConnectionLostError("cut by a test", applied="unknown", retryable=True)


def _names_of(tries: Tries[Any]) -> tuple[str, str]:
    """The verb that a statement is of, and its own name, as spans have it."""
    name = tries.name
    if tries.is_batch:
        name = name.removesuffix("_many")
    verb = "query" if name.startswith("page_by_") else _VERBS.get(name, name)
    return verb, f"BATCH {name}" if tries.is_batch else name


def _check_name(of: str) -> None:
    if of.removeprefix("BATCH ") not in _NAMES:
        advice = "put_many and delete_many are a transaction" if of in _BESIDE else "name a verb"
        raise InvalidValueError("of", of, f"{advice}: {', '.join(sorted(_NAMES))}")
