"""Pages, streams, counts and prune, on each thing that has them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Status,
)
from tests.support.instances import SOON, order

if TYPE_CHECKING:
    from hephaestus_pg.verbs.search import Verbs

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


class TestPrune:
    @pytest.fixture
    async def filled(self, verbs: Verbs) -> Verbs:
        statuses = list(Status)
        await verbs.put_many([order(f"x::{n:02}", status=statuses[n % 5]) for n in range(50)])
        return verbs

    async def test_finished_rows_before_a_moment_go_and_active_ones_stay(
        self, filled: Verbs
    ) -> None:
        soon = datetime.now(UTC) + timedelta(hours=1)
        seen: list[int] = []

        assert await filled.prune(finished_before=soon - timedelta(hours=2)) == 0
        assert await filled.prune(finished_before=soon, dry_run=True) == 20
        assert await filled.count() == 50
        assert await filled.prune(finished_before=soon, batch_size=6, progress=seen.append) == 20

        assert seen == [6, 12, 18, 20]
        assert await filled.count(status_in=Status.FINISHED) == 0
        assert await filled.count(status_in=Status.ACTIVE) == 30

    async def test_a_moment_without_a_zone_and_an_empty_batch_are_refused(
        self, filled: Verbs
    ) -> None:
        now = datetime.now(UTC)
        for dry_run in (True, False):
            with pytest.raises(InvalidValueError):
                await filled.prune(finished_before=now.replace(tzinfo=None), dry_run=dry_run)
            with pytest.raises(InvalidValueError, match="^finished_before is "):
                await filled.prune(finished_before="now", dry_run=dry_run)  # type: ignore[arg-type]
            with pytest.raises(InvalidValueError, match="^batch_size is "):
                await filled.prune(finished_before=now, batch_size=0, dry_run=dry_run)

    async def test_what_is_no_answer_to_a_dry_run_deletes_nothing(self, filled: Verbs) -> None:
        wrong: list[dict[str, Any]] = [{"dry_run": 0}, {"dry_run": ""}, {"progress": "print"}]
        for given in wrong:
            with pytest.raises(InvalidTypeError, match=f"^{next(iter(given))} is "):
                await filled.prune(finished_before=SOON, **given)
        assert await filled.count() == 50


class TestPruneBesideOthers:
    async def test_interrupted_it_has_done_whole_batches(self, storage: AsyncStorage) -> None:
        done = [order(f"x::{n:02}", status=Status.COMPLETED) for n in range(30)]
        await storage.put_many(done)

        def stop(pruned: int) -> None:
            if pruned == 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await storage.prune(finished_before=SOON, batch_size=10, progress=stop)
        assert await storage.count() == 10
        assert await storage.prune(finished_before=SOON) == 10

    async def test_one_that_is_started_again_meanwhile_stays(self, storage: AsyncStorage) -> None:
        await storage.put_many([order(f"x::{n}", status=Status.FAILED) for n in range(5)])

        async with storage.transaction() as transaction:
            await transaction.insert(order("x::2"), replace_finished=True)
            assert await storage.prune(finished_before=SOON) == 4
        assert [instance.id for instance in await storage.query()] == ["x::2"]
        assert await storage.prune(finished_before=SOON) == 0

    async def test_beside_restarts_it_deletes_no_active_one(self, storage: AsyncStorage) -> None:
        ids = [f"x::{n:02}" for n in range(40)]
        for _ in range(5):
            await storage.put_many([order(id, status=Status.COMPLETED) for id in ids])

            async def restart(id: str) -> Instance:
                return await storage.insert(order(id), replace_finished=True)

            restarted, _ = await asyncio.gather(
                asyncio.gather(*map(restart, ids)),
                storage.prune(finished_before=SOON, batch_size=3),
            )
            assert await storage.get_many(ids) == {instance.id: instance for instance in restarted}
