"""What the page reads, and how little of the table that is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Context, LoadedClasses, Status, _sql
from hephaestus_pg.web.hours import Count
from hephaestus_pg.web.reading import PART_BYTES, Reading
from tests.support.instances import order

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.web.hours import Hour
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

HOUR = timedelta(hours=1)

# 20,000 in the quarter of an hour two hours ago, last written an hour after that.
FILL = """
INSERT INTO {table} (id, workflow, status, state, inserted_at, updated_at)
SELECT n, 'Order', 'completed', '{{}}', moment, moment + interval '1 hour'
FROM generate_series(0, 19999) AS n,
LATERAL (SELECT date_trunc('hour', now() AT TIME ZONE 'UTC') - interval '2 hours'
    + n * interval '45 ms') AS moments (moment)
"""


async def filled(storage: AsyncStorage, pool: Pool) -> datetime:
    """The hour in which they were inserted."""
    table = f"{storage.schema}.workflow_instances"
    await pool.execute(FILL.format(table=table))
    await pool.execute(f"VACUUM ANALYZE {table}")
    first: datetime = await pool.fetchval(f"SELECT min(inserted_at) FROM {table}")
    return first.replace(tzinfo=UTC)


async def by_start(storage: AsyncStorage) -> dict[datetime, Hour]:
    return {hour.start: hour for hour in await Reading(storage).hours()}


async def explained(storage: AsyncStorage, pool: Pool, name: str, *arguments: str) -> str:
    statement = _sql.statement(name, storage.schema)
    rows = await pool.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", *arguments)
    return "\n".join([row[0] for row in rows])


async def test_an_hour_of_few_is_counted_by_workflow_and_status(storage: AsyncStorage) -> None:
    await storage.put_many([order(f"orderid::{n}") for n in range(7)])
    await storage.put(order("refund", workflow="Refund", status=Status.FAILED))
    *before, last = await Reading(storage).hours()
    assert len(before) == 23
    assert {hour.inserted for hour in before} == {Count(0, is_exact=True)}
    assert not any(hour.written for hour in before)
    assert last.inserted == Count(8, is_exact=True)
    assert last.written == {
        "Order": {"pending": Count(7, is_exact=True)},
        "Refund": {"failed": Count(1, is_exact=True)},
    }
    assert timedelta() <= datetime.now(UTC) - last.start < timedelta(hours=1, minutes=5)


async def test_an_hour_of_many_is_estimated(storage: AsyncStorage, pool: Pool) -> None:
    hour = await filled(storage, pool)
    hours = await by_start(storage)
    assert not hours[hour].inserted.is_exact
    assert 18_000 < hours[hour].inserted.instances < 22_000
    assert hours[hour + HOUR].written == {"Order": {"completed": Count(20_000, is_exact=True)}}


async def test_few_failures_among_many_instances_are_counted(
    storage: AsyncStorage, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_pg.web.reading.SAMPLED_PAGES", 120)  # about half
    hour = await filled(storage, pool)
    failed = await storage.put(order(status=Status.FAILED))
    assert failed.updated_at is not None
    hours = await by_start(storage)
    written = hours[failed.updated_at.replace(minute=0, second=0)].written
    assert written == {"Order": {"failed": Count(1, is_exact=True)}}
    [number, is_exact] = hours[hour + HOUR].written["Order"]["completed"]
    assert not is_exact
    assert 12_000 < number < 30_000


async def test_of_an_hour_of_many_few_are_read_from_the_index(
    storage: AsyncStorage, pool: Pool
) -> None:
    await filled(storage, pool)
    plan = await explained(storage, pool, "inserted_by_hour", "500")
    [scan] = [
        line for line in plan.splitlines() if "workflow_instances_inserted_at_id_index" in line
    ]
    assert "Index Only Scan" in scan
    [rows] = re.findall(r"actual rows=([\d.]+) loops=96", scan)
    assert float(rows) * 96 < 1000  # of 20,000
    assert "Seq Scan" not in plan
    plan = await explained(storage, pool, "written_by_hour", "5001", "1000")
    assert "Seq Scan" not in plan
    assert "Sample Scan" in plan


async def test_a_part_that_is_too_large_stays_on_the_server(storage: AsyncStorage) -> None:
    text = "x" * PART_BYTES
    await storage.put(order(context=Context({"text": text}), runtime_metadata={"a": 1}))
    found = await Reading(storage).found("orderid::1")
    assert found is not None
    assert found.instance is not None
    assert found.instance.context == Context()
    assert found.instance.runtime_metadata == {"a": 1}
    assert found.cut.keys() == {"context"}
    assert found.cut["context"] > PART_BYTES
    assert text not in str(found.columns)


async def test_names_do_not_have_to_be_those_of_classes(start: Start) -> None:
    storage = await start(references=LoadedClasses())
    async with start() as named:
        await named.put(order())
    reading = Reading(storage)
    found = await reading.found("orderid::1")
    assert found is not None
    assert found.instance is not None
    assert found.instance.workflow == "Order"
    assert [each.id async for each in reading.summaries(workflow="Order")] == ["orderid::1"]


async def test_what_is_not_there_is_none(storage: AsyncStorage) -> None:
    assert await Reading(storage).found("orderid::1") is None
