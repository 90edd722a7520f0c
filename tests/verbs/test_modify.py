from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hephaestus_pg import (
    ConnectionLostError,
    Instance,
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    OperationTimeoutError,
    StaleInstanceError,
)
from tests.support.catalog import until_waiting

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.testing import Faults
    from tests.support.starting import Start


def counted(instance: Instance) -> Instance:
    number = instance.runtime_metadata.get("n", 0)
    return replace(instance, runtime_metadata={"n": number + 1})


async def test_many_at_once_lose_none(storage: AsyncStorage, start: Start) -> None:
    other = await start()
    await storage.insert(Instance("x", "W"))
    await asyncio.gather(*(each.modify("x", counted) for each in (storage, other) * 20))
    stored = await storage.modify("x", counted)
    assert stored.runtime_metadata == {"n": 41}
    assert await storage.get("x") == stored


@pytest.mark.parametrize("fault", ("break_connection", "lose_answer"))
async def test_a_change_of_its_own_is_not_known_from_the_same_of_another(
    storage: AsyncStorage,
    start: Start,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    other = await start()
    await storage.insert(Instance("x", "W"))
    read = storage.get

    async def read_before_another(id: str, **options: Any) -> Instance | None:
        held = await read(id, **options)
        if fault == "break_connection":
            await other.modify(id, counted)
        return held

    monkeypatch.setattr(storage, "get", read_before_another)
    getattr(faults, fault)("update")
    with pytest.raises(ConnectionLostError) as caught:
        await storage.modify("x", counted)
    assert caught.value.applied == "unknown"
    stored = await other.get("x")
    assert stored is not None
    assert stored.runtime_metadata == {"n": 1}


async def test_in_a_transaction_the_row_is_locked(
    storage: AsyncStorage, start: Start, dsn: str, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    other = await start()
    await storage.insert(Instance("x", "W"))
    free = (
        f"SELECT id FROM {storage.schema}.workflow_instances WHERE id = 'x' FOR UPDATE SKIP LOCKED"
    )
    found = []

    def change(instance: Instance) -> Instance:
        with psycopg.connect(dsn) as link:
            found.append(link.execute(free.encode()).fetchall())
        return counted(instance)

    async with storage.transaction() as transaction:
        await transaction.modify("x", change)
        beside = asyncio.create_task(other.modify("x", counted))
        await until_waiting(pool, storage.schema, "transactionid")
        assert not beside.done()
        await transaction.modify("x", change)
    assert (await beside).runtime_metadata == {"n": 3}
    assert found == [[], []]


async def test_others_who_are_always_first_are_an_error_at_the_deadline(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.insert(Instance("x", "W"))
    get = storage.get

    async def get_before_another(id: str, **options: Any) -> Instance | None:
        held = await get(id, **options)
        if held is not None:
            await storage.put(held)
        return held

    monkeypatch.setattr(storage, "get", get_before_another)
    # A busy machine may cut the last try off.
    with pytest.raises((StaleInstanceError, OperationTimeoutError)):
        await storage.modify("x", counted, timeout=0.3)


async def test_a_change_of_one_that_was_read_before_is_refused_at_once(
    storage: AsyncStorage,
) -> None:
    """It could be tried until the deadline, and said then that others were first."""
    read = await storage.insert(Instance("x", "W"))
    await storage.put(read)
    for change in (lambda _: counted(read), lambda _: Instance.new("W", {}, id="x")):
        with pytest.raises(InvalidValueError, match="revision.*not one that was read before"):
            await storage.modify("x", change)
        with pytest.raises(InvalidValueError, match="revision.*not one that was read before"):
            async with storage.transaction() as transaction:
                await transaction.modify("x", change)


@pytest.mark.parametrize(
    ("change", "error"),
    (
        (lambda it: None, InvalidTypeError),
        ("change", InvalidTypeError),
        (lambda it: replace(it, id="y"), InvalidValueError),
    ),
)
async def test_what_is_no_change_is_refused(
    storage: AsyncStorage, change: Any, error: type[Exception]
) -> None:
    await storage.insert(Instance("x", "W"))
    with pytest.raises(error):
        await storage.modify("x", change)


async def test_an_async_change_is_refused(storage: AsyncStorage) -> None:
    async def change(instance: Instance) -> Instance:
        return instance

    await storage.insert(Instance("x", "W"))
    with pytest.raises(InvalidTypeError, match="not async"):
        await storage.modify("x", change)  # type: ignore[arg-type,unused-ignore]


async def test_a_row_that_is_not_there_is_named(storage: AsyncStorage) -> None:
    with pytest.raises(InstanceNotFoundError):
        await storage.modify("x", counted)
    with pytest.raises(InstanceNotFoundError):
        async with storage.transaction() as transaction:
            await transaction.modify("x", counted)
