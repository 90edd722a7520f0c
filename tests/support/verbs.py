"""Every thing that has the verbs: a storage, a caller's pool, a transaction, a connection.

The caller's pool and connection have a jsonb codec of their own, which must not matter.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    Names,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.verbs.search import Verbs


async def _own_codec(connection: asyncpg.Connection[Any]) -> None:
    for type_name in ("json", "jsonb"):
        await connection.set_type_codec(
            type_name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )


@asynccontextmanager
async def opened(kind: str, dsn: str, schema: str) -> AsyncIterator[Verbs]:
    """The verbs of that kind on the schema."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=3, init=_own_codec) as pool,
        AsyncStorage.start(pool=pool, name=kind, schema=schema, references=Names()) as on_pool,
        AsyncStorage.start(dsn, schema=schema, references=Names(), batching=False) as own,
    ):
        match kind:
            case "storage":
                async with AsyncStorage.start(
                    dsn, name="own", schema=schema, references=Names()
                ) as storage:
                    yield storage
            case "unbatched":
                yield own
            case "pool":
                yield on_pool
            case "transaction":
                async with own.transaction() as transaction:
                    yield transaction
            case "savepoint":
                async with (
                    pool.acquire() as connection,
                    connection.transaction(),
                    connection.transaction(),
                ):
                    yield own.using(connection)
