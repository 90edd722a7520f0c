"""What the page reads, and how little of the table that is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Context, LoadedClasses, _sql
from hephaestus_pg.web.reading import PART_BYTES, Reading
from tests.support.instances import order

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

# 20,000 in the quarter of an hour two hours ago, last written an hour after that.
FILL = """
INSERT INTO {table} (id, workflow, status, state, inserted_at, updated_at)
SELECT n, 'Order', 'completed', '{{}}', moment, moment + interval '1 hour'
FROM generate_series(0, 19999) AS n,
LATERAL (SELECT date_trunc('hour', now() AT TIME ZONE 'UTC') - interval '2 hours'
    + n * interval '45 ms') AS moments (moment)
"""


async def filled(storage: AsyncStorage, pool: Pool) -> None:
    table = f"{storage.schema}.workflow_instances"
    await pool.execute(FILL.format(table=table))
    await pool.execute(f"VACUUM ANALYZE {table}")


async def test_an_hour_of_few_is_counted(storage: AsyncStorage) -> None:
    await storage.put_many([order(f"orderid::{n}") for n in range(7)])
    *before, last = await Reading(storage).hours()
    assert len(before) == 23
    assert {(hour.inserted, hour.written) for hour in before} == {(0, 0)}
    assert (last.inserted, last.is_exact, last.written, last.is_whole) == (7, True, 7, True)
    assert timedelta() <= datetime.now(UTC) - last.start < timedelta(hours=1, minutes=5)


async def test_an_hour_of_many_is_estimated(storage: AsyncStorage, pool: Pool) -> None:
    await filled(storage, pool)
    hours = await Reading(storage).hours()
    assert not hours[-3].is_exact
    assert 18_000 < hours[-3].inserted < 22_000
    assert (hours[-2].written, hours[-2].is_whole) == (20_000, True)


async def test_of_an_hour_of_many_few_are_read_from_the_index(
    storage: AsyncStorage, pool: Pool
) -> None:
    await filled(storage, pool)
    explain = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {_sql.statement('hours', storage.schema)}"
    plan = "\n".join([row[0] for row in await pool.fetch(explain, "500", "1000")])
    [scan] = [
        line for line in plan.splitlines() if "workflow_instances_inserted_at_id_index" in line
    ]
    assert "Index Only Scan" in scan
    [rows] = re.findall(r"actual rows=([\d.]+) loops=96", scan)
    assert float(rows) * 96 < 1000  # of 20,000
    assert "Seq Scan" not in plan


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
