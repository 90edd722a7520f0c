"""Ways to have work done by others: inserted, claimed by a worker, run and finished.

Each brings an order of 1 KB to its worker, which writes it once and is done. Ours writes the order
itself; a queue has its orders in a table beside it; DBOS checkpoints a step that returns it. A
contender's module is imported by its own processes alone.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import asyncpg
import orjson

from benchmarks.contenders import POOL
from benchmarks.states import order, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WORKERS = 64
"""Orders that one process works on at once."""

BATCH = 1_000
"""Orders that are inserted at once beforehand."""

FOREIGN = 50
"""Orders of each caller that are no work for who works here, and are written over and over."""


class Described(NamedTuple):
    """A contender's title, where to import it from, and how many orders it has before it."""

    title: str
    module: str
    class_name: str
    backlog: int
    """Enough for a few seconds' work."""


QUEUES = {
    "ours": Described("hephaestus_pg", "ours", "Ours", 24_000),
    "ours-none": Described("hephaestus_pg, no index over states", "ours", "WithoutIndex", 24_000),
    "pgqueuer": Described("PgQueuer", "pgqueuer_jobs", "PgQueuerJobs", 12_000),
    "procrastinate": Described("Procrastinate", "procrastinate_jobs", "ProcrastinateJobs", 2_000),
    "dbos": Described("DBOS", "dbos_workflows", "DbosWorkflows", 1_500),
    "dbos-polling": Described("DBOS, asking each 10 ms", "dbos_workflows", "Polling", 1_500),
}


def queue(name: str) -> Queue:
    """A new contender of that name, not yet open."""
    _, module, class_name, _ = QUEUES[name]
    made: Queue = getattr(import_module(f"{__name__}.{module}"), class_name)()
    return made


class Queue:
    """One way. Its first process installs it; all of them open it, and insert or work."""

    FINISHED: ClassVar[str]
    """The query for the number of orders that are finished."""

    uvloop: ClassVar[bool] = False
    """Whether its own command runs on uvloop."""

    async def install(self, dsn: str) -> None:
        """Make the tables."""
        raise NotImplementedError

    async def open(self, dsn: str) -> None:
        """Connect, as one that inserts and may work."""
        raise NotImplementedError

    async def fill(self, numbers: Sequence[int]) -> None:
        """Insert these orders at once."""
        raise NotImplementedError

    async def insert(self, number: int) -> None:
        """Insert one order, as a program does that wants it done."""
        raise NotImplementedError

    async def write_foreign(self, numbers: Sequence[int]) -> None:
        """Write in one call what is no work for who works here, though it is in the same table."""
        raise NotImplementedError

    async def work(self, started: Callable[[int], None]) -> None:
        """Work with 64 workers until cancelled; each says which order it has started."""
        raise NotImplementedError


class Orders:
    """The orders of those who keep none themselves, in a table with nothing but its key."""

    def __init__(self, dsn: str) -> None:
        self._pool = asyncpg.create_pool(dsn, min_size=POOL, max_size=POOL, reset=_leave)

    @staticmethod
    async def install(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "CREATE TABLE orders (id integer PRIMARY KEY, status text NOT NULL, state jsonb)"
        )
        await connection.close()

    async def open(self) -> None:
        await self._pool

    async def insert(self, numbers: Sequence[int]) -> None:
        await self._pool.execute(
            "INSERT INTO orders SELECT unnest($1::integer[]), 'running', unnest($2::text[])::jsonb",
            numbers,
            [state_of(number) for number in numbers],
        )

    async def write(self, number: int, state: str) -> None:
        """The one write of a worker."""
        await self._pool.execute(
            "UPDATE orders SET status = 'completed', state = $2::text::jsonb WHERE id = $1",
            number,
            state,
        )


async def _leave(connection: object) -> None:
    """Nothing is left to reset, and resetting would be four statements more."""


def state_of(number: int) -> str:
    """The order's state as JSON text."""
    return text(order(number, 0, "1kb")).decode()


@cache
def foreign_state() -> str:
    """The state of an order that is no work: it is written, and never read."""
    return state_of(0)


def parsed_state_of(number: int) -> Any:
    """The order's state, for those who make the JSON themselves."""
    return orjson.loads(state_of(number))


def number_in(state: Mapping[str, Any]) -> int:
    """The number of the order of which this is the state."""
    number: int = state["context"]["initial"]["order"]
    return number
