"""Prune, on each thing that has it."""

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
    from hephaestus_pg.verbs.pruning import Verbs

pytestmark = pytest.mark.quick


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

    async def test_of_one_workflow_alone(self, verbs: Verbs) -> None:
        await verbs.put_many(
            order(f"x::{n}", workflow=f"W{n % 2}", status=Status.COMPLETED) for n in range(10)
        )
        given: dict[str, Any] = {"finished_before": SOON, "workflow": "W0"}
        assert await verbs.prune(**given, dry_run=True) == 5
        assert await verbs.prune(**given, batch_size=2) == 5
        assert await verbs.count(workflow="W1") == await verbs.count() == 5

    async def test_a_workflow_that_has_no_name_is_refused(self, verbs: Verbs) -> None:
        for dry_run in (True, False):
            with pytest.raises(InvalidTypeError, match="^workflow is "):
                await verbs.prune(finished_before=SOON, workflow=Status, dry_run=dry_run)

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
