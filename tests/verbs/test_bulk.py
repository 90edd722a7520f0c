"""The verbs on many instances, on each thing that has them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    Context,
    InvalidTypeError,
    InvalidValueError,
    SerializationError,
    Serializer,
    Status,
)
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.execution import connection_executor, pool_runner
from hephaestus_pg.verbs import bulk, search
from tests.support.catalog import MOMENT
from tests.support.instances import order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.verbs.pruning import Verbs
    from tests.support.starting import Start

pytestmark = pytest.mark.quick


class TestMany:
    async def test_many_are_put_read_and_deleted(self, verbs: Verbs) -> None:
        given = [order(f"orderid::{n}", status=Status.RUNNING) for n in (3, 1, 2)]
        first = await verbs.put(order("orderid::1"))

        stored = await verbs.put_many(given)

        assert stored == given
        revisions = [instance.revision or 0 for instance in stored]
        assert revisions[1] == (first.revision or 0) + 1
        assert min(revisions) > MOMENT
        found = await verbs.get_many([*(i.id for i in given), "orderid::none", "orderid::1"])
        assert found == {instance.id: instance for instance in given}
        assert found["orderid::1"].revision == revisions[1]
        assert await verbs.delete_many(["orderid::1", "none", "orderid::3"]) == {
            "orderid::1",
            "orderid::3",
        }
        assert await verbs.count() == 1

    async def test_none_at_all_is_nothing(self, verbs: Verbs) -> None:
        assert await verbs.put_many([]) == []
        assert await verbs.get_many([]) == {}
        assert await verbs.delete_many([]) == set()

    async def test_an_iterator_will_do(self, verbs: Verbs) -> None:
        await verbs.put_many(order(f"x::{n}") for n in range(3))

        assert len(await verbs.get_many(f"x::{n}" for n in range(5))) == 3

    async def test_the_same_id_twice_is_named(self, verbs: Verbs) -> None:
        with pytest.raises(InvalidValueError, match=r"^id is 'x::1'.*twice"):
            await verbs.put_many([order("x::1"), order("x::2"), order("x::1")])
        assert await verbs.count() == 0

    async def test_all_are_stored_or_none(
        self, verbs: Verbs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "CHUNK_ROWS", 2)
        good = [order(f"x::{n}") for n in range(9)]

        with pytest.raises(SerializationError) as caught:
            await verbs.put_many([*good, order("x::9", runtime_metadata={"x": b""})])
        assert caught.value.__notes__ == ["It is in the instance 'x::9'."]
        assert await verbs.count() == 0
        with pytest.raises(InvalidTypeError, match="instances"):
            await verbs.put_many([*good, "x::9"])  # type: ignore[list-item]
        assert await verbs.count() == 0

    async def test_more_than_a_statement_holds_go_in_several(
        self, verbs: Verbs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "CHUNK_ROWS", 10)
        monkeypatch.setattr(bulk, "CHUNK_CHARS", 5000)
        given = [
            order(f"x::{n}", context=Context({"text": "x" * (9000 if n % 7 == 0 else 300)}))
            for n in range(45)
        ]

        sent: Counter[str] = Counter()
        names = {
            getattr(verbs._statements, name).text: name for name in ("get_many", "delete_many")
        }

        async def counted(connection: Any, text: str, arguments: Any) -> Any:
            # A table of Citus is also asked for its shards.
            sent[names.get(text, "put_many" if text.startswith("INSERT") else "shards")] += 1
            return await fetch_rows(connection, text, arguments)

        for module in (connection_executor, pool_runner):
            monkeypatch.setattr(module, "fetch_rows", counted)

        assert await verbs.put_many(given) == given
        ids = [instance.id for instance in given]
        assert await verbs.get_many(ids) == {instance.id: instance for instance in given}
        assert await verbs.delete_many(ids) == set(ids)
        assert sent - Counter(shards=1) == {"put_many": 14, "get_many": 5, "delete_many": 5}


IDS = [f"x::{number}" for number in range(200)]


async def streamed(storage: AsyncStorage) -> None:
    async for _ in storage.stream():
        pass


@pytest.mark.parametrize(
    "read",
    (lambda storage: storage.query(), lambda storage: storage.get_many(IDS), streamed),
    ids=("query", "get_many", "stream"),
)
async def test_a_get_is_answered_while_a_large_answer_is_decoded(
    start: Start,
    migrated: str,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[AsyncStorage], Awaitable[Any]],
) -> None:
    """On the only connection: the large answer does not hold it either."""
    monkeypatch.setattr(bulk, "SLICE_CHARS", 1)  # one row
    monkeypatch.setattr(search, "FIRST_ROWS", len(IDS))
    events: list[str] = []
    gets: list[asyncio.Task[None]] = []

    async with start(name=migrated, max_size=1) as storage:
        await storage.put_many([order(id) for id in IDS])

        async def get() -> None:
            assert await storage.get("nobody") is None
            events.append("answered")

        def decode(serializer: Serializer, row: Any) -> Any:
            if not gets:
                gets.append(asyncio.create_task(get()))
            if not gets[0].done():
                time.sleep(0.01)  # rows take long, as long as others wait
            events.append("decoded")
            return real(serializer, row)

        real = Serializer.decode
        monkeypatch.setattr(Serializer, "decode", decode)
        await read(storage)
        await gets[0]

    assert events.count("decoded") == len(IDS)
    assert events[-1] == "decoded"
