"""Ways to store instances, each as its documentation shows it, over one pool of one size.

All but LangGraph write the same rows of the same table, with the same indexes, in databases of
their own. A contender's module is imported by its own process alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import asyncpg
import orjson

from hephaestus_pg import (
    Names,
    Serializer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance

POOL = 10
"""Connections of each contender: asyncpg's default."""

PAGE = 50
"""Instances of a page, and of one get_many."""

OPERATIONS = ("put", "get", "update", "query", "stream", "put_many")


class Described(NamedTuple):
    """A contender's title, and where to import it from."""

    title: str
    module: str
    class_name: str
    operations: tuple[str, ...] = OPERATIONS


CONTENDERS = {
    "ours": Described("hephaestus_pg", "ours", "Ours"),
    "unbatched": Described("hephaestus_pg, batching=False", "ours", "Unbatched"),
    "asyncpg": Described("asyncpg, one statement a call", "asyncpg_pool", "OneACall"),
    "asyncpg-noreset": Described("asyncpg, its pool's reset off", "asyncpg_pool", "WithoutReset"),
    "psycopg": Described("psycopg 3", "psycopg_pool", "Psycopg"),
    "sqlalchemy": Described("SQLAlchemy 2 ORM", "sqlalchemy_orm", "SqlAlchemy"),
    # It has no compare-and-set, and nothing that takes many.
    "langgraph": Described(
        "LangGraph AsyncPostgresSaver",
        "langgraph_saver",
        "LangGraph",
        ("put", "get", "query", "stream"),
    ),
    # Not Python's: see pgbench.py.
    "server-single": Described("PostgreSQL alone, one row a statement", "", "", ("put",)),
    "server": Described("PostgreSQL alone, many rows a statement", "", "", ("put",)),
}


def contender(name: str) -> Contender:
    """A new contender of that name, not yet started."""
    _, module, class_name, _ = CONTENDERS[name]
    made: Contender = getattr(import_module(f"{__name__}.{module}"), class_name)()
    return made


COLUMNS = """
SELECT
    id, workflow, status, workflow_version, state::text AS state, revision, inserted_at, updated_at
FROM workflow_instances"""

PUT = """
INSERT INTO workflow_instances AS held (
    id, workflow, status, workflow_version, state, inserted_at, updated_at
)
VALUES ($1, $2, $3, $4, $5::text::jsonb, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')
ON CONFLICT (id) DO UPDATE SET
    workflow = EXCLUDED.workflow,
    status = EXCLUDED.status,
    state = EXCLUDED.state,
    updated_at = EXCLUDED.updated_at,
    revision = held.revision + 1
RETURNING workflow_version, revision, inserted_at, updated_at"""

UPDATE = """
UPDATE workflow_instances
SET
    workflow = $2,
    status = $3,
    state = $4::text::jsonb,
    updated_at = now() AT TIME ZONE 'UTC',
    revision = revision + 1
WHERE id = $1 AND revision = $5
RETURNING revision"""


class Contender:
    """One way to store. What it is given of an instance, its value, is made before the clock runs.

    Each operation answers with the number of instances it stored or brought.
    """

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

    def place(self, instance: Instance) -> str:
        """What ``page`` takes for the instance before it."""
        return instance.id

    async def page(self, place: str) -> int:
        """The next 50 instances that wait, by id."""
        raise NotImplementedError

    async def get_many(self, ids: Sequence[str]) -> int:
        raise NotImplementedError

    async def stream(self) -> int:
        """The instances that wait, one in sixteen, never all in memory."""
        raise NotImplementedError

    async def put_many(self, values: Sequence[Any]) -> int:
        raise NotImplementedError

    async def look(self, dsn: str) -> None:
        """Learn what revisions the rows are at, for updates."""
        if "workflow_instances" in self.tables:
            connection = await asyncpg.connect(dsn)
            rows = await connection.fetch("SELECT id, revision FROM workflow_instances")
            self.revisions.update((row["id"], row["revision"]) for row in rows)
            await connection.close()

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
