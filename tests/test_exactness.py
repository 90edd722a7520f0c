"""Any value at all, through the real server: it comes back equal, or nothing is written.

A thousand states; 100,000 of each kind with ``--hypothesis-profile long --timeout 0``.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus_pg import AsyncStorage, Context, Instance, Names, SerializationError, migrations
from tests.strategies import maps, nasty_values
from tests.test_json import same

if TYPE_CHECKING:
    from collections.abc import Iterator

# Hypothesis remembers what it has tried: more examples in one go would fill the memory.
PART = 10_000
PARTS = range(max(1, settings().max_examples // PART))
REAL = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=min(PART, settings().max_examples),
)
# Ten states each, on average.
REAL_BATCHES = settings(REAL, max_examples=max(100, REAL.max_examples // 10))


class Runner:
    """A storage and the loop that it lives in, for tests that Hypothesis calls many times."""

    def __init__(self, runner: asyncio.Runner, storage: AsyncStorage) -> None:
        self._runner = runner
        self._storage = storage

    def put_and_get(self, instances: list[Instance]) -> list[tuple[Instance, Instance]]:
        async def both() -> list[tuple[Instance, Instance]]:
            put = await self._storage.put_many(instances)
            got = await self._storage.get_many([instance.id for instance in instances])
            return [(instance, got[instance.id]) for instance in put]

        return self._runner.run(both())

    def count(self) -> int:
        return self._runner.run(self._storage.count(id="refused::1"))


@pytest.fixture
def real(dsn: str, schema: str) -> Iterator[Runner]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        runner.run(migrations.up(dsn, schema=schema))

        async def start() -> AsyncStorage:
            return await AsyncStorage.start(dsn, schema=schema, references=Names())

        storage = runner.run(start())
        stack.callback(lambda: runner.run(storage.close()))
        yield Runner(runner, storage)


@pytest.mark.parametrize("part", PARTS)
@REAL_BATCHES
@given(batch=st.lists(maps, min_size=1, max_size=20))
def test_any_json_comes_back_equal_to_the_last_bit(
    real: Runner, batch: list[dict[str, Any]], part: int
) -> None:
    given_instances = [Instance.new("W", value, id=f"x::{n}") for n, value in enumerate(batch)]

    for value, (put, got) in zip(batch, real.put_and_get(given_instances), strict=True):
        assert same(put.context.initial, value)
        assert same(got.context.initial, value)


@pytest.mark.parametrize("part", PARTS)
@REAL
@given(value=nasty_values)
def test_anything_else_comes_back_as_it_was_put_or_is_refused(
    real: Runner, value: Any, part: int
) -> None:
    instance = Instance("refused::1", "W", context=Context({"value": [value]}))
    before = real.count()
    try:
        [(put, got)] = real.put_and_get([instance])
    except SerializationError:
        assert real.count() == before
    else:
        assert same(got.context.initial, put.context.initial)


def test_the_largest_and_smallest_numbers_come_back(real: Runner) -> None:
    numbers = [
        10**131_072 - 1,
        1 - 10**131_072,
        2**63,
        -(2**63) - 1,
        1.7976931348623157e308,
        5e-324,
    ]

    [(_, got)] = real.put_and_get([Instance.new("W", {"numbers": numbers}, id="x")])

    assert same(got.context.initial, {"numbers": numbers})


def test_every_character_comes_back(real: Runner) -> None:
    text = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x110000)]))

    [(_, got)] = real.put_and_get([Instance.new("W", {"text": text}, id="x")])

    assert got.context.initial == {"text": text}
