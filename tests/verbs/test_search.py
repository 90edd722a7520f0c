"""Pages, streams and counts, on each thing that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.instances import order

if TYPE_CHECKING:
    from hephaestus_pg import (
        Instance,
    )
    from hephaestus_pg.verbs.pruning import Verbs

pytestmark = pytest.mark.quick


class TestPages:
    @pytest.fixture
    async def filled(self, verbs: Verbs, request: pytest.FixtureRequest) -> Verbs:
        """Rows of which many share a moment; one by one in a transaction all would share it."""
        await verbs.put_many([order(f"x::{n:02}", workflow=f"W{n % 3}") for n in range(30)])
        return verbs

    @pytest.mark.parametrize("order_by", ("id", "inserted_at", "updated_at"))
    async def test_pages_hold_every_row_once_in_order(self, filled: Verbs, order_by: Any) -> None:
        for limit in (1, 7, 30, 100):
            seen: list[Instance] = []
            after = None
            while page := await filled.query(order_by=order_by, limit=limit, after=after):
                assert len(page) <= limit
                seen += page
                after = filled.cursor(page[-1], order_by=order_by)

            assert [instance.id for instance in seen] == [f"x::{n:02}" for n in range(30)]

    async def test_filters_narrow_pages_and_counts_too(self, filled: Verbs) -> None:
        first = await filled.query(workflow="W1", limit=4)
        rest = await filled.query(workflow="W1", after=filled.cursor(first[-1]))

        assert [instance.id for instance in first + rest] == [f"x::{n:02}" for n in range(1, 30, 3)]
        assert await filled.count(workflow="W1") == 10
        assert await filled.count() == 30

    async def test_a_stream_gives_every_row_once_by_id(self, filled: Verbs) -> None:
        streamed = [instance.id async for instance in filled.stream()]
        some = [instance.id async for instance in filled.stream(workflow="W2")]

        assert streamed == [f"x::{n:02}" for n in range(30)]
        assert some == [f"x::{n:02}" for n in range(2, 30, 3)]

    async def test_a_stream_may_be_left_early(self, filled: Verbs) -> None:
        async for instance in filled.stream():
            assert instance.id == "x::00"
            break
        assert await filled.count() == 30

    async def test_deleting_the_rows_of_a_stream_as_they_come_is_fine(self, filled: Verbs) -> None:
        async for instance in filled.stream():
            assert await filled.delete(instance.id)
        assert await filled.count() == 0
