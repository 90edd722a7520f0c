"""Faults of one storage: the only place where tests reach into a storage's statements."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from hephaestus_pg import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    import pytest

    from hephaestus_pg import AsyncStorage, DatabaseError


def lost() -> ConnectionLostError:
    """A connection that broke while a statement was under way."""
    return ConnectionLostError("cut", applied="unknown", retryable=True)


def pool_of(storage: AsyncStorage) -> asyncpg.Pool[Any]:
    """The pool of a storage, to break."""
    return storage._pool_executor._pool


class Faults:
    """Makes the next tries of a storage's statements fail, in the order in which it is told to.

    ``of`` names a statement, such as ``put_many``, or is ``transaction``; without it the fault is
    that of whichever comes next.
    """

    def __init__(self, storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        """The names of the statements that were tried, in order."""
        self.rows: list[int] = []
        """The number of rows in each answer to a statement that gives rows."""
        self._planned: list[_Fault] = []
        self._before: dict[str, Callable[[], Any]] = {}
        runner = storage._pool_executor._runner
        real = runner.run

        def run(deadline: float, name: str, work: Callable[[Any], Any], **options: Any) -> Any:
            return real(deadline, name, lambda link: self._try(name, lambda: work(link)), **options)

        monkeypatch.setattr(runner, "run", run)

    @property
    def planned(self) -> int:
        """The number of faults that have not happened yet."""
        return len(self._planned)

    def lose_answer(self, of: str | None = None, *, times: int = 1) -> None:
        """Have a statement carried out, and its answer lost with its connection."""
        self._planned.append(_Fault(of, lost, times, is_carried_out=True))

    def break_before(self, of: str | None = None, *, times: int = 1) -> None:
        """Have the connection break before the server heard of the statement."""
        self._planned.append(_Fault(of, lost, times))

    def fail(self, of: str | None, error: DatabaseError, *, times: int = 1) -> None:
        """Have a statement fail with the error, without being carried out."""
        self._planned.append(_Fault(of, lambda: error, times))

    def before(self, of: str, act: Callable[[], Any]) -> None:
        """Have ``act`` run, and awaited, before each try of the statement from now on."""
        self._before[of] = act

    def stop(self) -> None:
        """Let everything succeed from now on."""
        self._planned.clear()
        self._before.clear()

    async def _try(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        self.tried.append(name)
        if act := self._before.get(name):
            done = act()
            if isawaitable(done):
                await done
        fault = next((each for each in self._planned if each.of in {None, name}), None)
        if fault is None:
            answer = await work()
            if isinstance(answer, list):
                self.rows.append(len(answer))
            return answer
        fault.times -= 1
        if not fault.times:
            self._planned.remove(fault)
        if fault.is_carried_out:
            await work()
        raise fault.error()


@dataclass
class _Fault:
    of: str | None
    error: Callable[[], DatabaseError]
    times: int
    is_carried_out: bool = False
