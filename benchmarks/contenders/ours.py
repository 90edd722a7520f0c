from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from benchmarks.contenders import PAGE, Contender
from hephaestus_pg import (
    AsyncStorage,
    Names,
    Status,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance


class Ours(Contender):
    batching: ClassVar[bool] = True

    async def start(self, dsn: str) -> None:
        await migrations.up(dsn)
        self._storage = await AsyncStorage.start(dsn, references=Names(), batching=self.batching)

    async def close(self) -> None:
        await self._storage.close()

    def value(self, instance: Instance) -> Instance:
        return instance

    async def put(self, value: Instance) -> int:
        await self._storage.put(value)
        return 1

    async def get(self, id: str) -> int:
        assert await self._storage.get(id)
        return 1

    async def update(self, value: Instance) -> int:
        seen = replace(value, revision=self.revisions[value.id])
        stored = await self._storage.update(seen)
        assert stored.revision
        self.revisions[value.id] = stored.revision
        return 1

    async def query(self, workflow: str) -> int:
        return len(await self._storage.query(workflow=workflow))

    def place(self, instance: Instance) -> str:
        return AsyncStorage.cursor(instance)

    async def page(self, place: str) -> int:
        return len(await self._storage.query(status=Status.WAITING, limit=PAGE, after=place))

    async def get_many(self, ids: Sequence[str]) -> int:
        return len(await self._storage.get_many(ids))

    async def stream(self) -> int:
        return len([None async for _ in self._storage.stream(status=Status.WAITING)])

    async def put_many(self, values: Sequence[Instance]) -> int:
        return len(await self._storage.put_many(values))


class Unbatched(Ours):
    batching = False
