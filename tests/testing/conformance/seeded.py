"""The suite over each mutant, and over a storage without a bug; test_mutants.py runs it."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar

import pytest

from hephaestus_pg import AsyncStorage, Names
from hephaestus_pg.testing import Faults, conformance
from tests.testing.conformance.mutants import mutants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DSN, SCHEMA = os.environ["HEPHAESTUS_PG_DSN"], os.environ["CONFORMANCE_SCHEMA"]


class Started:
    """Storages on one pool, two of each kind, started when they are first asked for."""

    def __init__(self, stack: AsyncExitStack, base: AsyncStorage) -> None:
        self._stack = stack
        self._base = base
        self._storages: dict[str, AsyncStorage] = {}

    async def of(self, kind: type[AsyncStorage], which: str) -> AsyncStorage:
        name = f"{kind.__name__} {which}"
        if name not in self._storages:
            start = kind.start(
                share=self._base, name=name, schema=SCHEMA, references=Names(), batching=False
            )
            self._storages[name] = await self._stack.enter_async_context(start)
        return self._storages[name]


@pytest.fixture(scope="session")
async def started() -> AsyncIterator[Started]:
    async with (
        AsyncStorage.start(DSN, schema=SCHEMA, references=Names(), max_size=4) as base,
        AsyncExitStack() as stack,
    ):
        yield Started(stack, base)


class Seeded:
    kind: ClassVar[type[AsyncStorage]]

    @pytest.fixture
    async def storage(self, started: Started) -> AsyncStorage:
        return await started.of(self.kind, "one")

    @pytest.fixture
    async def another(self, started: Started) -> AsyncStorage:
        return await started.of(self.kind, "another")

    @pytest.fixture
    def faults(self, storage: AsyncStorage) -> Iterator[Faults]:
        with Faults(storage) as faults:
            yield faults


class TestSound(Seeded, conformance.All):
    kind = AsyncStorage


for mutant in mutants():
    for suite in conformance.CAPABILITIES.values():
        tests = {name for name in vars(suite) if name.startswith("test_")}
        if wanted := tests & set(mutant.caught_by):
            name = f"Test{mutant.__name__}"
            left_out = dict.fromkeys(tests - wanted)
            members = {"kind": mutant, "__module__": __name__, **left_out}
            globals()[name] = type(name, (Seeded, suite), members)
