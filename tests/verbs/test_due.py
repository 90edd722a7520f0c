"""``due_at`` through every verb, and what each write does to who owns an instance."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from hephaestus_pg import CorruptInstanceError, Instance, Status

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults

    Pool = asyncpg.Pool[asyncpg.Record]

EAST = timezone(timedelta(hours=2))
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 4, 6, 14, 0, 0, 123_456, EAST)
TOKEN = UUID("0191e0a4-5b0c-7d3e-8f00-000000000001")


def timer(id: str, due_at: datetime | None = NOON) -> Instance:
    return Instance(id, "Order", status=Status.WAITING, due_at=due_at)


async def own(pool: Pool, storage: AsyncStorage, **columns: Any) -> None:
    """Set columns of every row by hand, in one statement that raises the revision itself."""
    settings = ", ".join(f"{name} = ${at}" for at, name in enumerate(columns, 1))
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances SET {settings}", *columns.values()
    )


async def columns(pool: Pool, storage: AsyncStorage) -> dict[str, tuple[Any, Any, Any]]:
    rows = await pool.fetch(
        f"SELECT id, runner, due_at, attempts FROM {storage.schema}.workflow_instances"
    )
    return {id: (runner, due_at, attempts) for id, runner, due_at, attempts in rows}


@pytest.mark.parametrize("moment", (NOON, datetime.max.replace(tzinfo=UTC), None))
async def test_every_verb_keeps_when_an_instance_is_due(
    storage: AsyncStorage, moment: datetime | None
) -> None:
    inserted = await storage.insert(timer("a", moment))
    assert inserted == timer("a", moment) == await storage.get("a")
    assert inserted.due_at is None or inserted.due_at.tzinfo is UTC
    updated = await storage.update(replace(inserted, due_at=NOON))
    assert updated.due_at == NOON
    put = await storage.put(replace(updated, due_at=moment))
    assert put.due_at == moment
    await storage.put_many([timer("b", moment), timer("c", NOON)])
    found = [await storage.query(), list((await storage.get_many(list("abc"))).values())]
    found.append([each async for each in storage.stream()])
    for instances in found:
        assert {each.id: each.due_at for each in instances} == {"a": moment, "b": moment, "c": NOON}
    async with storage.transaction() as transaction:
        assert (await transaction.get("b")) == timer("b", moment)
    finished = await storage.put(replace(put, status=Status.COMPLETED))
    again = await storage.insert(timer("a", None), replace_finished=True)
    assert (finished.due_at, again.due_at) == (moment, None)


@pytest.mark.parametrize(
    ("due_at", "in_utc"),
    (
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (
            datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        ),
        (datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ),
    ids=("first of two", "second of two", "none"),
)
async def test_an_hour_that_comes_twice_or_not_at_all_is_as_python_counts_it(
    storage: AsyncStorage, due_at: datetime, in_utc: datetime
) -> None:
    assert (await storage.put(timer("x", due_at))).due_at == in_utc
    read = await storage.get("x")
    assert read is not None
    assert read.due_at == in_utc


async def test_calls_that_share_a_statement_keep_their_own(storage: AsyncStorage) -> None:
    async def life(number: int) -> None:
        due_at = NOON + timedelta(seconds=number) if number % 2 else None
        held = await storage.insert(timer(f"x::{number}", due_at))
        held = await storage.update(held)
        held = await storage.put(held)
        assert held == timer(f"x::{number}", due_at) == await storage.get(held.id)

    await asyncio.gather(*map(life, range(64)))
    assert max(storage.process_stats().batch_sizes) > 8


async def test_one_that_never_is_due_is_read_as_one_that_has_no_moment(
    storage: AsyncStorage, pool: Pool
) -> None:
    held = await storage.put(timer("a"))
    await pool.execute(f"UPDATE {storage.schema}.workflow_instances SET due_at = 'infinity'")
    read = await storage.get("a")
    assert read is not None
    assert (read.due_at, read) == (None, replace(held, due_at=None))
    await pool.execute(f"UPDATE {storage.schema}.workflow_instances SET due_at = '-infinity'")
    with pytest.raises(CorruptInstanceError, match="its due_at is not in the years"):
        await storage.get("a")


@pytest.mark.parametrize("verb", ("put", "update", "put_many", "together"))
@pytest.mark.parametrize("status", Status)
async def test_a_write_keeps_the_owner_of_what_goes_on_and_forgets_failed_attempts(
    storage: AsyncStorage, pool: Pool, verb: str, status: Status
) -> None:
    await storage.put_many([timer(id) for id in "abc"])
    await own(pool, storage, runner=TOKEN, attempts=3)
    held = list((await storage.get_many(list("abc"))).values())
    assert {each.runner for each in held} == {TOKEN}
    new = [replace(each, status=status) for each in held]
    match verb:
        case "put_many":
            written = await storage.put_many(new)
        case "together":
            written = await asyncio.gather(*map(storage.update, new))
        case _:
            written = [await getattr(storage, verb)(each) for each in new]

    runner = TOKEN if status in {Status.PENDING, Status.RUNNING} else None
    assert {each.runner for each in written} == {runner}
    assert set((await columns(pool, storage)).values()) == {(runner, NOON, 0)}


@pytest.mark.parametrize("together", (False, True))
async def test_an_instance_that_replaces_a_finished_one_has_nothing_of_it(
    storage: AsyncStorage, pool: Pool, together: bool
) -> None:
    old = [replace(timer(id), workflow_version=7, status=Status.FAILED) for id in "abc"]
    await storage.put_many(replace(each, workflow="Old") for each in old)
    long_ago = NOON.replace(tzinfo=None)
    await own(pool, storage, runner=TOKEN, attempts=3, inserted_at=long_ago, updated_at=long_ago)
    new = [Instance(id, "Order") for id in "abc"]
    calls = [storage.insert(each, replace_finished=True) for each in new]
    written = await asyncio.gather(*calls) if together else [await call for call in calls]
    read = await storage.query(order_by="id")
    assert written == read == new
    assert [each.inserted_at for each in read] == [each.updated_at for each in written]
    assert await columns(pool, storage) == dict.fromkeys("abc", (None, None, 0))


async def test_a_writer_that_does_not_know_the_columns_leaves_them(
    storage: AsyncStorage, pool: Pool
) -> None:
    await storage.put(timer("a"))
    await own(pool, storage, runner=TOKEN, attempts=3)
    before = await storage.get("a")
    await pool.execute(
        f"INSERT INTO {storage.schema}.workflow_instances"
        " (id, workflow, status, state, inserted_at, updated_at)"
        " VALUES ('a', 'Order', 'completed', '{}', now(), now()) ON CONFLICT (id) DO UPDATE SET"
        " status = EXCLUDED.status, state = EXCLUDED.state, updated_at = EXCLUDED.updated_at"
    )
    assert await columns(pool, storage) == {"a": (TOKEN, NOON, 3)}
    after = await storage.get("a")
    assert before is not None
    assert after is not None
    assert (after.revision or 0) > (before.revision or 0)


@pytest.mark.parametrize("verb", ("insert", "update"))
async def test_a_write_whose_answer_is_lost_is_known_by_when_it_is_due(
    storage: AsyncStorage, faults: Faults, verb: str
) -> None:
    new = timer("a", NOON)
    if verb == "update":
        new = replace(await storage.insert(timer("a", None)), due_at=NOON)
    faults.lose_answer()
    assert (await getattr(storage, verb)(new)).due_at == NOON
