"""Ways to store instances, each as its documentation shows it, over one pool of one size.

All but LangGraph write the same rows of the same table, with the same indexes, in databases of
their own. A contender's module is imported by its own process alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import orjson

from hephaestus_pg import Names, Serializer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance

POOL = 10
"""Connections of each contender: asyncpg's default."""

OPERATIONS = ("put", "get", "update", "query", "stream", "put_many")

CONTENDERS = {
    "ours": ("hephaestus_pg", "ours", "Ours"),
    "unbatched": ("hephaestus_pg, batching=False", "ours", "Unbatched"),
    "asyncpg": ("asyncpg, one statement a call", "asyncpg_pool", "OneACall"),
    "asyncpg-noreset": ("asyncpg, its pool's reset off", "asyncpg_pool", "WithoutReset"),
    "psycopg": ("psycopg 3", "psycopg_pool", "Psycopg"),
    "sqlalchemy": ("SQLAlchemy 2 ORM", "sqlalchemy_orm", "SqlAlchemy"),
    "langgraph": ("LangGraph AsyncPostgresSaver", "langgraph_saver", "LangGraph"),
}
"""By name: what tables call it, its module, its class."""


def contender(name: str) -> Contender:
    """A new contender of that name, not yet started."""
    _, module, class_name = CONTENDERS[name]
    made: Contender = getattr(import_module(f"{__name__}.{module}"), class_name)()
    return made


class Contender:
    """One way to store. What it is given of an instance, its value, is made before the clock runs.

    Each operation answers with the number of instances it stored or brought.
    """

    operations: ClassVar[tuple[str, ...]] = OPERATIONS
    tables: ClassVar[tuple[str, ...]] = ("workflow_instances",)

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}

    async def start(self, dsn: str) -> None:
        """Make the tables, and open the pool."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the pool."""
        raise NotImplementedError

    def value(self, instance: Instance) -> Any:
        """What the operations take for it."""
        raise NotImplementedError

    async def put(self, value: Any) -> int:
        raise NotImplementedError

    async def get(self, id: str) -> int:
        raise NotImplementedError

    async def update(self, value: Any) -> int:
        """Compare-and-set on the revision that this contender's last write of it gave."""
        raise NotImplementedError

    async def query(self, workflow: str) -> int:
        """All instances of a workflow, as objects."""
        raise NotImplementedError

    async def stream(self) -> int:
        """The instances that wait, a quarter of all, never all in memory."""
        raise NotImplementedError

    async def put_many(self, values: Sequence[Any]) -> int:
        raise NotImplementedError

    async def clear(self, dsn: str) -> None:
        """Empty the tables; with them goes what autovacuum would do at another's expense."""
        self.revisions.clear()
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"TRUNCATE {', '.join(self.tables)}")
        await connection.close()


def row(instance: Instance) -> tuple[str, str, str, int, str]:
    """The columns of an instance, its state as JSON text."""
    id, workflow, status, version, state = Serializer(Names()).to_db(instance)
    return id, workflow, status, version, orjson.dumps(state).decode()
