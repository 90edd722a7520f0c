"""Any value at all, through the real server: it comes back equal, or nothing is written.

A thousand states; 100,000 of each kind with ``--hypothesis-profile long --timeout 0``.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    Names,
    SerializationError,
    Serializer,
    migrations,
)
from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.serializer import MAX_JSONB_BYTES
from tests.support.strategies import maps, nasty_values, same

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
REAL_BATCHES = settings(
    REAL, max_examples=max(min(100, REAL.max_examples), REAL.max_examples // 10)
)


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


def printed(connection: psycopg.Connection[Any], texts: list[bytes]) -> list[int]:
    """The bytes of each text once it has been a jsonb."""
    query = "SELECT octet_length(text::jsonb::text) FROM unnest(%s::text[]) AS text"
    rows = connection.execute(query, [[text.decode() for text in texts]]).fetchall()
    return [size for (size,) in rows]


@pytest.fixture(scope="module")
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@REAL_BATCHES
@given(batch=st.lists(maps, min_size=1, max_size=20))
def test_the_size_that_is_counted_is_that_which_the_server_sends(
    connection: psycopg.Connection[Any], batch: list[dict[str, Any]]
) -> None:
    texts = [exact_json.dumps(value)[0] for value in batch]

    for text, size in zip(texts, printed(connection, texts), strict=True):
        counted = exact_json.printed_size(text, 0)
        assert size <= counted <= size + text.count(b"-0.0")  # which comes back as 0.0
        assert exact_json.printed_size(text, len(text) * 50) <= len(text) * 50


@pytest.mark.parametrize(
    "value",
    (
        [5e-324, -5e-324, 1.5e-7, 1e-5, 2.2250738585072014e-308],
        [1.2345678901234567e-300, 1.7976931348623157e308, 1e16, -1e22, 2**70, -(10**300)],
        {'a"\\\b\f\n\r\t\x01\x1f\x7f,:': 'é☃𝄞\u2028"\\/\b\f\n\r\t\x01\x1f\x7f,:'},
        {"8e-4,1e-5:": '1e-9\\", "e-5": 1e-5', "k\\": '\\",:1e-9', '\\"': 1e-9},
        {"a": [[[{}]], [], {"b": {}}, True, None, False]},
    ),
    ids=("small", "large", "escapes", "exponents in texts", "nested"),
)
def test_what_grows_on_the_way_is_counted_to_the_byte(
    connection: psycopg.Connection[Any], value: Any
) -> None:
    text = exact_json.dumps({"value": value})[0]

    assert [exact_json.printed_size(text, 0)] == printed(connection, [text])


def test_a_state_that_would_grow_over_the_limit_is_not_written(real: Runner) -> None:
    fits = [5e-324] * 51_000  # 357,000 bytes as they are sent, 16,728,000 as they come back
    [(_, got)] = real.put_and_get([Instance.new("W", {"n": fits}, id="x")])
    assert got.context.initial == {"n": fits}

    with pytest.raises(SerializationError, match=r"^state: it takes 16,8\d\d,\d\d\d bytes as JSON"):
        real.put_and_get([Instance.new("W", {"n": fits + fits[:400]}, id="refused::1")])
    assert real.count() == 0


def test_no_limit_lets_through_what_no_text_can_hold() -> None:
    serializer = Serializer(Names(), max_state_bytes=MAX_JSONB_BYTES)

    with pytest.raises(SerializationError, match=r"^state: it takes 295,\d{3},\d{3} bytes"):
        serializer.encode(Instance.new("W", {"n": [5e-324] * 900_000}, id="x"))
