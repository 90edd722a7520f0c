from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from benchmarks.contenders import POOL, Contender
from hephaestus_pg import (
    Names,
    Serializer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance

# What an order started from does not change, so that only its first checkpoint holds it.
_CONSTANT = ("initial", "step_configs")


class LangGraph(Contender):
    """Each put is a further checkpoint of the order's thread."""

    tables: ClassVar[tuple[str, ...]] = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")

    async def start(self, dsn: str) -> None:
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            dsn,
            min_size=POOL,
            max_size=POOL,
            open=False,
            timeout=300,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        )
        await self._pool.open(wait=True)
        self._saver = AsyncPostgresSaver(self._pool)
        await self._saver.setup()

    async def close(self) -> None:
        await self._pool.close()

    def value(self, instance: Instance) -> tuple[Any, ...]:
        _, workflow, status, _, state = Serializer(Names()).to_db(instance)
        context = state.pop("context")
        channels = {**state, **context}
        version = len(instance.completed_steps) + 1
        versions = {name: "1" if name in _CONSTANT else str(version) for name in channels}
        new = (
            versions
            if version == 1
            else {name: each for name, each in versions.items() if name not in _CONSTANT}
        )
        config = {"configurable": {"thread_id": instance.id, "checkpoint_ns": ""}}
        metadata = {"source": "loop", "step": version, "workflow": workflow, "status": status}
        return config, channels, versions, metadata, new

    async def put(self, value: tuple[Any, ...]) -> int:
        config, channels, versions, metadata, new = value
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = channels
        checkpoint["channel_versions"] = versions
        await self._saver.aput(config, checkpoint, metadata, new)
        return 1

    async def get(self, id: str) -> int:
        assert await self._saver.aget_tuple(
            {"configurable": {"thread_id": id, "checkpoint_ns": ""}}
        )
        return 1

    async def query(self, workflow: str) -> int:
        return await self._listed({"workflow": workflow})

    async def stream(self) -> int:
        return await self._listed({"status": "waiting"})

    async def put_many(self, values: Sequence[tuple[Any, ...]]) -> int:
        """To fill the table, with all of each; it has no such call of its own."""
        await asyncio.gather(
            *(
                self.put((config, channels, versions, metadata, versions))
                for config, channels, versions, metadata, _ in values
            )
        )
        return len(values)

    async def _listed(self, matching: dict[str, str]) -> int:
        return len([None async for _ in self._saver.alist(None, filter=matching)])
