"""A statement that inserts one row becomes one that inserts several."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.execution.multi_row import MAX_ROWS, MultiRow
from hephaestus_pg.execution.statements import statements_of

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage

pytestmark = pytest.mark.quick

SINGLE = """INSERT INTO t (a, b)
VALUES (
    $1::text,
    coalesce($3::text, $1::text)
)
RETURNING a
"""


def test_each_row_has_parameters_of_its_own_and_what_no_row_needs_is_left_out() -> None:
    multi_row = MultiRow(SINGLE)

    assert (
        multi_row.text(2)
        == """INSERT INTO t (a, b)
VALUES (
    $1::text,
    coalesce($2::text, $1::text)
), (
    $3::text,
    coalesce($4::text, $3::text)
)
RETURNING a
"""
    )
    assert multi_row.arguments([("1", "left out", "2"), ("3", "left out", "4")]) == (
        *("1", "2"),
        *("3", "4"),
    )


def test_the_text_for_a_number_of_rows_is_the_same_object_each_time() -> None:
    """By it the driver finds what it has prepared."""
    multi_row = MultiRow(SINGLE)
    assert multi_row.text(3) is multi_row.text(3)


@pytest.mark.parametrize("name", ("put", "insert", "insert_over_finished"))
def test_the_driver_keeps_the_longest_of_them(name: str) -> None:
    many = getattr(statements_of("tenant_a", "citus"), name).many
    assert many.multi_row is not None
    assert len(many.multi_row.text(MAX_ROWS)) < 15 * 1024


def test_few_calls_are_rows_in_order_and_many_are_arrays() -> None:
    many = statements_of("tenant_a", "citus").put.many
    assert many is not None

    def columns(ids: list[str]) -> tuple[list[str], ...]:
        return (ids, *([f"{number} of {id}" for id in ids] for number in range(2, 7)))

    text, arguments = many.with_arguments(columns(["b", "a", "ä", "Z"]))
    assert text.count("::jsonb") == 4
    assert arguments[::6] == ("Z", "a", "b", "ä")
    assert arguments[6:12] == ("a", *(f"{number} of a" for number in range(2, 7)))

    some = columns([f"{number:03}" for number in range(MAX_ROWS + 1)])
    assert many.with_arguments(some) == (many.text, some)


@pytest.fixture
def by_rows(storage: AsyncStorage) -> AsyncStorage:
    """A storage whose statements are those for Citus, which a plain table takes too."""
    statements = statements_of(storage.schema, "citus")
    storage._pool_executor.statements = storage._statements = statements
    return storage


async def test_they_do_what_the_single_ones_do(by_rows: AsyncStorage) -> None:
    ids = [f"x::{number}" for number in range(40)]
    new = await asyncio.gather(*(by_rows.put(Instance(id, "Order")) for id in ids))
    assert by_rows.process_stats().batch_sizes.keys() - {1}
    done = await asyncio.gather(
        *(by_rows.put(Instance(id, "Order", status=Status.COMPLETED)) for id in ids[:20])
    )
    for before, after in zip(new, done, strict=False):
        assert before.revision is not None
        assert after.revision == before.revision + 1

    async def insert(id: str, *, replace_finished: bool) -> bool:
        try:
            await by_rows.insert(Instance(id, "Refund"), replace_finished=replace_finished)
        except Exception:  # noqa: BLE001 - only whether it succeeded counts
            return False
        return True

    for replace_finished, expected in ((False, [False] * 40), (True, [True] * 20 + [False] * 20)):
        inserted = await asyncio.gather(
            *(insert(id, replace_finished=replace_finished) for id in ids)
        )
        assert inserted == expected
    assert await by_rows.count_by("workflow") == {"Order": 20, "Refund": 20}
