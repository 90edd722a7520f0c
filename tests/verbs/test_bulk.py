"""The verbs on many instances, on each thing that has them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    Context,
    InvalidTypeError,
    InvalidValueError,
    SerializationError,
    Status,
)
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.execution import connection_executor, pool_runner
from hephaestus_pg.execution.statements import statements_of
from hephaestus_pg.verbs import bulk
from tests.support.catalog import MOMENT
from tests.support.instances import order

if TYPE_CHECKING:
    from hephaestus_pg.verbs.pruning import Verbs

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

        with pytest.raises(SerializationError):
            await verbs.put_many([*good, order("x::9", runtime_metadata={"x": b""})])
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
            (statement.asking or statement).text: statement.name
            for statement in (
                getattr(statements_of(verbs.schema), name)
                for name in ("put_many", "get_many", "delete_many")
            )
        }

        async def counted(connection: Any, text: str, arguments: Any) -> Any:
            sent[names[text]] += 1
            return await fetch_rows(connection, text, arguments)

        for module in (connection_executor, pool_runner):
            monkeypatch.setattr(module, "fetch_rows", counted)

        assert await verbs.put_many(given) == given
        ids = [instance.id for instance in given]
        assert await verbs.get_many(ids) == {instance.id: instance for instance in given}
        assert await verbs.delete_many(ids) == set(ids)
        assert sent == {"put_many": 14, "get_many": 5, "delete_many": 5}
