"""Looks at the table that do not read states."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pytest

from hephaestus_pg import (
    Context,
    InstanceCount,
    InvalidTypeError,
    InvalidValueError,
    Status,
    StorageClosedError,
)
from hephaestus_pg.inspect import looking
from hephaestus_pg.verbs.keyset import Order
from tests.runners.conftest import next_claim
from tests.support.instances import order

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage, Summary
    from tests.support.starting import Start

LONG_AGO = "UPDATE {}.workflow_instances SET {} WHERE id = ANY ($1::text[])"


@pytest.fixture
async def orders(storage: AsyncStorage) -> list[str]:
    """Twelve orders, one in each second, every third of which has failed."""
    ids = [f"o{number:02}" for number in range(12)]
    statuses = [Status.FAILED if number % 3 == 0 else Status.RUNNING for number in range(12)]
    await storage.put_many(
        [order(id, status=status) for id, status in zip(ids, statuses, strict=True)]
    )
    return ids


@pytest.fixture
async def spread(
    orders: list[str], pool: asyncpg.Pool[asyncpg.Record], storage: AsyncStorage
) -> list[str]:
    """The same, of which two at a time were inserted and updated in the same second."""
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances SET "
        "inserted_at = timestamp '2026-01-01' + substr(id, 2)::int / 2 * interval '1 second', "
        "updated_at = timestamp '2026-01-02' - substr(id, 2)::int / 2 * interval '1 second'"
    )
    return orders


async def ids_of(storage: AsyncStorage, **options: Any) -> list[str]:
    return [each.id async for each in storage.summaries(**options)]


class TestSummaries:
    async def test_they_say_all_but_the_state_and_its_size(self, storage: AsyncStorage) -> None:
        given = order("a", current_step="Charge", context=Context({"text": "x" * 500}))
        stored = await storage.put(given)

        [summary] = [each async for each in storage.summaries()]

        assert summary.id == "a"
        assert summary.workflow == "Order"
        assert summary.current_step == "Charge"
        assert summary.revision == stored.revision
        assert summary.inserted_at == stored.inserted_at
        assert summary.state_bytes > 500

    @pytest.mark.parametrize("column", ("id", "inserted_at", "updated_at"))
    @pytest.mark.parametrize("rows", (1, 5, 12, 500))
    async def test_pages_of_any_size_give_every_row_once_in_order_from_both_ends(
        self,
        storage: AsyncStorage,
        spread: list[str],
        monkeypatch: pytest.MonkeyPatch,
        column: Any,
        rows: int,
    ) -> None:
        monkeypatch.setattr(looking, "PAGE_ROWS", rows)
        forward = [each async for each in storage.summaries(order_by=column)]
        backward = await ids_of(storage, order_by=f"-{column}")

        assert sorted(each.id for each in forward) == spread
        keys = [(getattr(each, column), each.id) for each in forward]
        assert all(one < two for one, two in pairwise(keys))
        assert backward == [each.id for each in reversed(forward)]

    @pytest.mark.parametrize("order_by", ("-id", "-inserted_at", "-updated_at"))
    async def test_query_goes_on_behind_a_cursor_from_the_end(
        self, storage: AsyncStorage, spread: list[str], order_by: Any
    ) -> None:
        seen: list[str] = []
        after = None
        while page := await storage.query(order_by=order_by, after=after, limit=5):
            seen += [each.id for each in page]
            after = storage.cursor(page[-1], order_by=order_by)

        assert seen == await ids_of(storage, order_by=order_by)
        assert len(seen) == len(spread)

    async def test_filters_and_a_limit_hold_and_a_summary_is_a_place(
        self, storage: AsyncStorage, spread: list[str]
    ) -> None:
        first: list[Summary] = [
            each async for each in storage.summaries(status="failed", limit=2, order_by="-id")
        ]
        place = storage.cursor(first[-1], order_by="-id")

        assert [each.id for each in first] == [spread[9], spread[6]]
        rest = await ids_of(storage, status="failed", order_by="-id", after=place)
        assert rest == [spread[3], spread[0]]

    async def test_a_cursor_of_one_direction_is_none_of_the_other(
        self, storage: AsyncStorage, spread: list[str]
    ) -> None:
        [first] = await storage.query(limit=1, id=spread[0])
        with pytest.raises(InvalidValueError, match="a cursor by id, not by -id"):
            await ids_of(storage, order_by="-id", after=storage.cursor(first))

    async def test_a_row_that_cannot_be_read_has_a_summary(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        await storage.put(order("a"))
        await pool.execute(f"UPDATE {storage.schema}.workflow_instances SET state = '[1]'")

        [summary] = [each async for each in storage.summaries()]

        assert (summary.id, summary.current_step) == ("a", None)

    @pytest.mark.parametrize("moment", ("infinity", "-infinity"))
    async def test_a_row_with_an_infinite_moment_is_in_every_order(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record], moment: str
    ) -> None:
        await storage.put_many([order("a"), order("b")])
        await pool.execute(
            f"UPDATE {storage.schema}.workflow_instances "
            f"SET inserted_at = '{moment}', updated_at = '{moment}' WHERE id = 'b'"
        )
        for order_by in get_args(Order):
            assert sorted(await ids_of(storage, order_by=order_by)) == ["a", "b"]


class TestCountBy:
    async def test_it_counts_what_the_filters_let_through(
        self, storage: AsyncStorage, orders: list[str]
    ) -> None:
        await storage.put(order("other", workflow="Refund", workflow_version=2))

        assert await storage.count_by("status") == {"failed": 4, "pending": 1, "running": 8}
        assert await storage.count_by("workflow", status="failed") == {"Order": 4}
        assert await storage.count_by("status", status_in=["failed", "pending"]) == {
            "failed": 4,
            "pending": 1,
        }
        assert await storage.count_by("workflow_version") == {"1": 12, "2": 1}
        assert await storage.count_by("runner") == {"": len(orders) + 1}

    async def test_a_column_may_be_the_member_of_an_enum_of_texts(
        self, storage: AsyncStorage, orders: list[str]
    ) -> None:
        class Column(str, Enum):  # noqa: UP042 - as FastAPI takes a parameter of a few values
            WORKFLOW = "workflow"

        column: Any = Column.WORKFLOW
        assert await storage.count_by(column) == {"Order": len(orders)}

    async def test_another_column_is_refused(self, storage: AsyncStorage) -> None:
        with pytest.raises(InvalidValueError, match="column is 'state': give one of status"):
            await storage.count_by("state")  # type: ignore[arg-type]


class TestStats:
    async def test_they_count_by_workflow_and_status_exactly_where_that_is_few(
        self, storage: AsyncStorage, orders: list[str]
    ) -> None:
        stats = await storage.stats()

        assert stats.instances == (
            InstanceCount("Order", "failed", 4, is_exact=True),
            InstanceCount("Order", "running", 8, is_exact=True),
        )
        assert (stats.owned, stats.orphaned, stats.exhausted) == (0, 0, 0)
        assert stats.process == storage.process_stats()
        [oldest] = stats.claimable_since.values()
        first = await storage.get(orders[1])
        assert first is not None
        assert oldest == first.inserted_at

    async def test_what_is_many_is_estimated(
        self, storage: AsyncStorage, orders: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looking, "EXACT_UP_TO", 5)

        stats = await storage.stats()

        # All pages of a small table are in the sample.
        assert stats.instances == (
            InstanceCount("Order", "failed", 4, is_exact=True),
            InstanceCount("Order", "running", len(orders) - 4, is_exact=False),
        )

    async def test_what_was_inserted_long_ago_waits_from_its_last_write_on(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        await storage.put(order("resumed"))
        long_ago = "inserted_at = inserted_at - interval '3 days'"
        await pool.execute(LONG_AGO.format(storage.schema, long_ago), ["resumed"])
        resumed = await storage.get("resumed")
        assert resumed

        assert (await storage.stats()).claimable_since == {"Order": resumed.updated_at}
        assert await storage.stuck() == []

    async def test_a_timer_is_claimable_from_its_moment_on(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        moment = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        await storage.put(order("past", status=Status.WAITING, due_at=moment))
        day = "updated_at = updated_at - interval '1 day'"
        await pool.execute(LONG_AGO.format(storage.schema, day), ["past"])
        later = moment + timedelta(days=1)
        await storage.put(order("ahead", workflow="Refund", status=Status.WAITING, due_at=later))

        assert (await storage.stats()).claimable_since == {"Order": moment}


class TestStuck:
    async def reasons(self, storage: AsyncStorage) -> dict[str, str]:
        found = await storage.stuck(older_than=timedelta(minutes=15))
        return {each.summary.id: each.reason for each in found}

    async def test_what_nobody_claims_and_what_is_overdue(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        past = datetime.now(UTC) - timedelta(hours=1)
        await storage.put(order("due", status=Status.WAITING, due_at=past))
        for id in ("old", "new"):
            await storage.put(order(id))
        await storage.put(order("human", status=Status.WAITING))
        change = "inserted_at = inserted_at - interval '1 hour', updated_at = '2026-01-01'"
        await pool.execute(LONG_AGO.format(storage.schema, change), ["old", "human", "due"])

        assert await self.reasons(storage) == {"old": "unclaimed", "due": "unclaimed"}

    async def test_what_its_owner_does_not_write_and_what_has_lost_its_owner(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        await storage.put(order("a"))
        async with storage.runner(workflows=["Order"]) as runner:
            claim = await next_claim(runner)
            assert await self.reasons(storage) == {}
            hour = "updated_at = updated_at - interval '1 hour'"
            await pool.execute(LONG_AGO.format(storage.schema, hour), ["a"])
            assert await self.reasons(storage) == {}  # its owner has just started
            started = "UPDATE {}.workflow_runners SET started_at = now() - interval '1 hour'"
            await pool.execute(started.format(storage.schema))
            assert await self.reasons(storage) == {"a": "silent"}
            assert (await storage.stats()).orphaned == 0
            await pool.execute(f"DELETE FROM {storage.schema}.workflow_runners")
            assert await self.reasons(storage) == {"a": "orphaned"}
            stats = await storage.stats()
            assert (stats.owned, stats.orphaned) == (1, 1)
            assert claim.id == "a"

    async def test_what_has_failed_too_often(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        await storage.put(order("a"))
        change = "due_at = 'infinity', attempts = 5, updated_at = '2026-01-01'"
        await pool.execute(LONG_AGO.format(storage.schema, change), ["a"])

        [stuck] = await storage.stuck()

        assert (stuck.reason, stuck.summary.attempts) == ("exhausted", 5)
        assert stuck.since == datetime(2026, 1, 1, tzinfo=UTC)
        assert (await storage.stats()).exhausted == 1
        assert await storage.release("a")
        assert (await storage.stats()).exhausted == 0

    async def test_of_those_that_come_next_the_ones_that_wait_for_longest_come_first(
        self, storage: AsyncStorage, spread: list[str]
    ) -> None:
        found = await storage.stuck(limit=3)

        # Here what was inserted later was written earlier.
        assert [each.summary.id for each in found] == [spread[4], spread[2], spread[1]]

    @pytest.mark.parametrize("wrong", (15, timedelta(seconds=-1), timedelta(days=1_000_001)))
    async def test_a_wrong_age_is_refused(self, storage: AsyncStorage, wrong: Any) -> None:
        with pytest.raises((InvalidTypeError, InvalidValueError), match="older_than"):
            await storage.stuck(older_than=wrong)


async def test_an_instance_as_json_is_what_json_can_write(storage: AsyncStorage) -> None:
    due = datetime(2026, 1, 1, tzinfo=UTC)
    stored = await storage.put(order("a", status=Status.WAITING, due_at=due))

    plain = json.loads(json.dumps(storage.as_json(stored)))

    assert plain["id"] == "a"
    assert plain["due_at"] == due.isoformat()
    assert plain["state"]["context"]["initial"] == {"order_id": 1}
    assert plain["revision"] == stored.revision
    assert storage.as_json(replace(stored, revision=None))["revision"] is None
    with pytest.raises(InvalidTypeError, match="instance"):
        storage.as_json("a")  # type: ignore[arg-type]


async def test_ping_gives_the_seconds_to_an_answer_or_raises(start: Start) -> None:
    storage = await start()
    assert await storage.ping() >= 0
    await storage.close()
    with pytest.raises(StorageClosedError):
        await storage.ping()
