"""Faults as users have them, and beside them what these tests alone see and do of statements."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from hephaestus_pg import AsyncStorage, ConnectionLostError, testing

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg.execution.pool_runner import Tries


def lost() -> ConnectionLostError:
    """A connection that broke while a statement was under way."""
    return ConnectionLostError("cut", applied="unknown", retryable=True)


def pool_of(storage: AsyncStorage) -> asyncpg.Pool[Any]:
    """The pool of a storage, to break."""
    return storage._pool_executor._pool


class Faults(testing.Faults):
    """The faults of a storage, as users have them; of a batch, ``BATCH put`` is a name too."""

    def __init__(self, storage: AsyncStorage) -> None:
        super().__init__(storage)
        self.sent: list[str] = []
        """The names of the statements that were tried, in order: ``BATCH put`` for several."""
        self.rows: list[int] = []
        """The number of rows in each answer to a statement that gives rows."""
        self._before: dict[str, Callable[[], Any]] = {}

    def before(self, of: str, act: Callable[[], Any]) -> None:
        """Have ``act`` run, and awaited, before each try of the statement from now on."""
        self._before[of] = act

    def clear(self) -> None:
        super().clear()
        self._before.clear()

    async def _meet(self, tries: Tries[Any], work: Callable[[Any], Any], connection: Any) -> Any:
        name = tries.name
        self.sent.append(f"BATCH {name.removesuffix('_many')}" if tries.is_batch else name)
        if act := self._before.get(name):
            done = act()
            if isawaitable(done):
                await done
        answer = await super()._meet(tries, work, connection)
        if isinstance(answer, list):
            self.rows.append(len(answer))
        return answer


FaultsOf = Callable[[AsyncStorage], Faults]
"""Gives the faults of a storage; see the fixture."""
