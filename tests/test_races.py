"""Several processes at once on the same rows: nobody's write is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hephaestus_pg import AsyncStorage, Instance, Status
from tests.racers import COUNTERS, race

if TYPE_CHECKING:
    import pytest


async def test_of_a_hundred_inserts_of_one_id_exactly_one_succeeds(
    dsn: str, storage: AsyncStorage
) -> None:
    results = await race("insert", dsn, storage.schema, processes=4, tasks=25, rounds=30)

    won = Counter(id for result in results for id in result["won"])
    assert won == Counter(f"race::{number}" for number in range(30))
    errors: Counter[str] = sum((Counter(result["errors"]) for result in results), Counter())
    assert errors == {"True pending Race": 99 * 30}
    assert await storage.count() == 30


async def test_an_insert_whose_obstacle_went_meanwhile_tries_again(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.insert(Instance.new("Race", {}, id="race::1"))
    row = storage._executor.row

    async def row_after_a_delete(deadline: float, statement: str, id: str, *arguments: Any) -> Any:
        if statement == "get":
            await row(deadline, "delete", id, None)
        return await row(deadline, statement, id, *arguments)

    monkeypatch.setattr(storage._executor, "row", row_after_a_delete)
    again = await storage.insert(Instance.new("Race", {"again": True}, id="race::1"))
    assert (again.revision, again.context.initial) == (1, {"again": True})


async def test_a_finished_instance_is_replaced_by_exactly_one(
    dsn: str, storage: AsyncStorage
) -> None:
    ids = [f"race::{number}" for number in range(30)]
    await storage.put_many([Instance(id, "Old", status=Status.COMPLETED) for id in ids])

    results = await race("restart", dsn, storage.schema, processes=3, tasks=10, rounds=30)

    assert sorted(tuple(won) for result in results for won in result["won"]) == sorted(
        (id, 2) for id in ids
    )


async def test_each_acknowledged_update_is_in_the_chain_exactly_once(
    dsn: str, storage: AsyncStorage
) -> None:
    await storage.put_many([Instance.new("Counter", {"marks": []}, id=id) for id in COUNTERS])

    results = await race("update", dsn, storage.schema, processes=3, tasks=4, rounds=90)

    for id in COUNTERS:
        acknowledged = sorted(
            (revision, mark)
            for result in results
            for of, revision, mark in result["acknowledged"]
            if of == id
        )
        held = await storage.get(id)
        assert held is not None
        # No revision was given twice, none was skipped, and the row holds each write in its order.
        assert [revision for revision, _ in acknowledged] == list(range(2, len(acknowledged) + 2))
        assert held.revision == len(acknowledged) + 1
        assert held.context.initial["marks"] == [mark for _, mark in acknowledged]
    assert sum(len(result["acknowledged"]) for result in results) == 3 * 4 * 90
    assert sum(result["refused"] for result in results) > 0


async def test_bulk_writes_in_opposite_orders_do_not_wait_for_each_other(
    dsn: str, storage: AsyncStorage
) -> None:
    await race("cross", dsn, storage.schema, processes=2, tasks=4, rounds=15)
