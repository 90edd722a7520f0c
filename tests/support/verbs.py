"""Every thing that has the verbs: a storage, a caller's pool, a transaction, a connection.

The caller's pool and connection have a jsonb codec of their own, which must not matter.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    Names,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.verbs.pruning import Verbs


async def _own_codec(connection: asyncpg.Connection[Any]) -> None:
    for type_name in ("json", "jsonb"):
        await connection.set_type_codec(
            type_name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )


@asynccontextmanager
async def opened(kind: str, dsn: str, schema: str) -> AsyncIterator[Verbs]:
    """The verbs of that kind on the schema."""
    start = partial(AsyncStorage.start, name=kind, schema=schema, references=Names())
    match kind:
        case "storage":
            async with start(dsn) as storage:
                yield storage
        case "unbatched":
            async with start(dsn, batching=False) as storage:
                yield storage
        case "pool":
            async with (
                asyncpg.create_pool(dsn, min_size=1, max_size=3, init=_own_codec) as pool,
                start(pool=pool) as storage,
            ):
                yield storage
        case "transaction":
            async with start(dsn) as storage, storage.transaction() as transaction:
                yield transaction
        case "savepoint":
            connection = await asyncpg.connect(dsn)
            try:
                await _own_codec(connection)
                async with (
                    start(dsn) as storage,
                    connection.transaction(),
                    connection.transaction(),
                ):
                    yield storage.using(connection)
            finally:
                await connection.close()
