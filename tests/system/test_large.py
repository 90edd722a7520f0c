"""Memory stays flat however many rows there are."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    RejectedError,
)
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.faults import Faults
    from tests.support.starting import Start

pytestmark = pytest.mark.once

MANY = 40_000


@pytest.fixture
async def single(start: Start) -> AsyncIterator[AsyncStorage]:
    """A storage that has one connection: one that is not given back is missed at once."""
    async with start(max_size=1) as storage:
        yield storage


# In a process of its own, whose largest size is that of this call alone.
PUT_MANY = rf"""
import asyncio, re, resource, sys
from hephaestus_pg import (
    AsyncStorage,
    Instance,
    Names,
)

def size():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The above would be that of the process that started this one, where it was larger.
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])

async def main():
    async with AsyncStorage.start(sys.argv[1], schema=sys.argv[2], references=Names()) as storage:
        shared = {{"text": "x" * 1800}}
        given = [Instance.new("W", shared, id=f"x::{{n}}") for n in range({MANY})]
        before = size()
        stored = await storage.put_many(given)
        assert len(stored) == await storage.count() == {MANY}
        print(size() - before)

asyncio.run(main())
"""


async def test_many_instances_go_in_one_call(dsn: str, migrated: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PUT_MANY, dsn, migrated), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert process.returncode == 0
    # What comes back, and a chunk on its way; the states alone are 80 MB of text.
    assert int(out) < 64 * 2**20


async def test_a_stream_holds_a_page_whatever_the_number_of_rows(storage: AsyncStorage) -> None:
    few, many = 4000, 12000  # enough of the few for two pages of the full size
    await storage.put_many(
        Instance.new("Few" if n < few else "Many", {"text": "x" * 2000}, id=f"x::{n}")
        for n in range(many)
    )

    async def peak(stream: AsyncIterator[Instance], expected: int) -> int:
        gc.collect()
        tracemalloc.start()
        seen = 0
        async for _ in stream:
            seen += 1
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen == expected
        return most

    of_few = await peak(storage.stream(workflow="Few"), few)
    assert await peak(storage.stream(), many) < 1.5 * of_few


@pytest.fixture
def pages(faults: Faults) -> list[int]:
    """The number of rows in each answer of the server, of which none goes wrong."""
    return faults.rows


async def test_large_rows_make_small_pages_from_the_first_on(
    storage: AsyncStorage, pages: list[int]
) -> None:
    text = "x" * 1_000_000
    await storage.put_many([Instance.new("W", {"text": text}, id=f"x::{n}") for n in range(90)])

    assert len([instance async for instance in storage.stream()]) == 90
    assert max(pages) <= 5


async def test_small_rows_soon_make_large_pages(storage: AsyncStorage, pages: list[int]) -> None:
    await storage.put_many([Instance(f"x::{n}", "W") for n in range(4000)])

    assert len([instance async for instance in storage.stream()]) == 4000
    assert len(pages) == 7
    assert max(pages) == 1000


class TestLeavingAStream:
    @pytest.fixture
    async def stream(self, single: AsyncStorage) -> AsyncIterator[AsyncIterator[Instance]]:
        await single.put_many([Instance("a::1", "W"), Instance("a::2", "W")])
        stream = single.stream()
        yield stream
        async with asyncio.timeout(WAIT_SECONDS):
            assert await single.count() == 2

    async def test_a_break_frees_its_connection(self, stream: AsyncIterator[Instance]) -> None:
        async for _ in stream:
            break

    async def test_an_exception_frees_its_connection(self, stream: AsyncIterator[Instance]) -> None:
        with pytest.raises(ZeroDivisionError):
            async for _ in stream:
                raise ZeroDivisionError

    async def test_a_cancellation_frees_its_connection(
        self, stream: AsyncIterator[Instance]
    ) -> None:
        reading = asyncio.Event()

        async def read() -> None:
            async for _ in stream:
                reading.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.long
async def test_a_row_that_no_text_can_hold_spoils_no_other_call(
    start: Start, migrated: str
) -> None:
    async with start(timeout=100) as storage:
        good = await storage.put_many(Instance(f"x::{n}", "W") for n in range(20))
        async with storage.transaction() as tx:
            await tx.connection.execute(  # as another writer may, who has no limit
                f"""
                INSERT INTO {migrated}.workflow_instances
                    (id, workflow, status, state, inserted_at, updated_at)
                SELECT 'huge', 'Huge', 'failed', jsonb_build_object('later', (
                    SELECT jsonb_agg('5e-324'::numeric) FROM generate_series(1, 3400000)
                )), now(), now()
                """
            )

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(storage.get(each.id)) for each in good]
            with pytest.raises(RejectedError, match="54000"):
                await storage.get("huge")
        assert [other.result() for other in others] == good
        with pytest.raises(RejectedError, match="54000"):
            await storage.query(workflow="Huge")
        assert await storage.count() == 21
        assert await storage.delete("huge")
