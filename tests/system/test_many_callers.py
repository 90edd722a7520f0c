"""More callers at once than a storage lets in: each ends, and memory is bounded.

Those who cannot wait are told so, and that nothing happened.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    Context,
    Instance,
    OperationTimeoutError,
)
from hephaestus_pg.batching.batcher import MAX_ADMITTED, MAX_WORKERS
from hephaestus_pg.batching.queue import MAX_ROWS

if TYPE_CHECKING:
    import asyncpg

    from tests.support.starting import Start

pytestmark = pytest.mark.once

CALLERS = 12_000
IDS = 2_000
POOL = 5


# Of those let in, and of those who wait outside; none is among the first, who are sent at once.
HASTY = {*range(9_000, 9_200), *range(10_500, 11_000)}
assert 2 * MAX_WORKERS * MAX_ROWS < min(HASTY) < MAX_ADMITTED < max(HASTY) < CALLERS


BYTES_A_CALLER = 12_000
"""What a caller may cost while it waits, task and all; its state alone has a thousand."""


async def test_each_caller_ends_with_a_result_or_its_deadline(
    start: Start, migrated: str, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with start(max_size=POOL, timeout=600) as storage:
        await storage.put_many(Instance(f"x::{number}", "W") for number in range(IDS))

        async def call(number: int) -> Any:
            timeout = 0.3 if number in HASTY else None
            id = f"x::{number % IDS}"
            if number // IDS % 2:
                return await storage.get(id, timeout=timeout)
            new = Instance(id, "W", context=Context({"padding": f"{number:01000}"}))
            return await storage.put(new, timeout=timeout)

        tracemalloc.start()
        try:
            async with pool.acquire() as other, other.transaction():
                # So that nobody is answered until all are waiting, and the hasty have given up.
                await other.execute(f"LOCK {migrated}.workflow_instances")
                calls = [asyncio.create_task(call(number)) for number in range(CALLERS)]
                await asyncio.wait([calls[number] for number in HASTY])
                waiting = [number for number, each in enumerate(calls) if not each.done()]
                assert len(waiting) == CALLERS - len(HASTY)
            results = await asyncio.gather(*calls, return_exceptions=True)
            _, peak = tracemalloc.get_traced_memory()
            del calls
        finally:
            tracemalloc.stop()

        for number, result in enumerate(results):
            if number in HASTY:
                assert isinstance(result, OperationTimeoutError)
                assert result.applied == "no"
            else:
                assert isinstance(result, Instance), result
        assert await storage.count() == IDS
    print(f"{peak / CALLERS:,.0f} bytes a caller")
    assert peak / CALLERS < BYTES_A_CALLER


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


class TestManyCallers:
    @pytest.mark.parametrize("batching", (True, False), ids=("batching", "plain"))
    async def test_ten_thousand_callers_on_two_connections_all_end(
        self, start: Start, *, batching: bool
    ) -> None:
        async with start(batching=batching, max_size=2, timeout=600) as storage:
            await asyncio.gather(*(storage.put(order(f"x::{n % 500}")) for n in range(10_000)))
            assert await storage.count() == 500
