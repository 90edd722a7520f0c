"""The verbs of a storage on runners: to start them, to see them, and to take things from them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hephaestus_pg import RunnerEndedError, Status, StorageClosedError
from hephaestus_pg.runners.heartbeat import Heartbeat
from tests.runners.conftest import OTHER, next_claim, order
from tests.support.lag import happens

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage, Runner
    from tests.runners.conftest import Table
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def test_runners_tells_of_those_that_live_the_oldest_first(
    storage: AsyncStorage, start: Start, table: Table
) -> None:
    other = await start()
    await storage.put_many([order("x"), order("y"), order("z", workflow="Refund")])
    async with (
        storage.runner(workflows=["Order"], name="first", lease=60) as first,
        other.runner(workflows=["Refund", "Order"], name="second", lease=60) as second,
    ):
        for id in ("x", "y"):
            assert await first.claim(id)
        told = await other.runners()
        assert [(each.name, each.token, each.workflows, each.owned) for each in told] == [
            ("first", first.token, ("Order",), 2),
            ("second", second.token, ("Order", "Refund"), 0),
        ]
        await table.expire(first.token)
        assert [each.name for each in await storage.runners()] == ["second"]


async def test_closing_the_storage_stops_its_runners(start: Start, table: Table) -> None:
    storage = await start()
    await storage.insert(order("x"))
    runner = await storage.runner(workflows=["Order"])
    assert await runner.claim("x")
    await storage.close()
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)
    assert [each async for each in runner.claims()] == []
    with pytest.raises(RunnerEndedError, match="it was stopped"):
        await runner.claim("x")
    with pytest.raises(StorageClosedError):
        await storage.runner(workflows=["Order"])


async def test_a_body_that_closes_its_storage_gives_back_and_is_not_cancelled(
    start: Start, table: Table, storage: AsyncStorage
) -> None:
    closed = await start()
    runner = await closed.runner(workflows=["Order"])
    async with await runner.insert(order("x")):
        await closed.close()
        await asyncio.sleep(0)
        assert (await table.row("x"))["runner"] is None
    assert await storage.runners() == []


@pytest.mark.parametrize("is_the_storages", (False, True))
async def test_a_cancelled_scope_of_anyios_waits_until_a_runner_is_stopped(
    start: Start, table: Table, storage: AsyncStorage, *, is_the_storages: bool
) -> None:
    own = await start()
    runner = own.runner(workflows=["Order"])
    with anyio.CancelScope() as scope:
        async with own if is_the_storages else runner as entered:
            await (await runner if entered is own else entered).insert(order("x"))
            scope.cancel()
            await anyio.sleep(60)
    assert (await table.row("x"))["runner"] is None
    assert await storage.runners() == []


async def test_an_operator_releases_what_is_owned(storage: AsyncStorage, table: Table) -> None:
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        await next_claim(runner)
        before = (await table.row("x"))["revision"]
        assert await storage.release("x") is True
        row = await table.row("x")
        assert (row["runner"], row["revision"]) == (None, before + 1)
        assert await storage.release("x") is False
        assert await storage.release("nobody") is False


@pytest.mark.parametrize(
    ("status", "attempts", "due"),
    (
        (Status.PENDING, 1, None),  # the moment was that of its attempt
        (Status.WAITING, 1, "now"),  # its timer, which a failed attempt put off, had come
        (Status.WAITING, 0, "ahead"),
        (Status.PENDING, 0, "ahead"),
    ),
)
async def test_what_is_released_is_due_at_once_where_a_failed_attempt_put_it_off(
    storage: AsyncStorage, table: Table, status: Status, attempts: int, due: str | None
) -> None:
    await storage.insert(order("x", status))
    ahead = f"runner = '{OTHER}', due_at = now() + interval '1 hour'"
    await table.set("x", f"{ahead}, attempts = {attempts}")
    assert await storage.release("x") is True
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)
    seconds = row["due"]
    found = None if seconds is None else "ahead" if seconds > 0 else "now"
    assert found == due


async def test_a_runner_that_starts_while_its_storage_closes_is_stopped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await start()
    beginning, goes_on = asyncio.Event(), asyncio.Event()
    real = Heartbeat.start

    async def begin(heartbeat: Heartbeat) -> None:
        await real(heartbeat)
        beginning.set()
        await goes_on.wait()

    monkeypatch.setattr(Heartbeat, "start", begin)
    starting = asyncio.create_task(a_runner(storage))
    await beginning.wait()
    await storage.close()
    goes_on.set()
    with pytest.raises(StorageClosedError):
        await starting
    with pytest.raises(StorageClosedError):
        await storage.runner(workflows=["Order"])
    await happens(lambda: "hephaestus_pg late" not in {each.name for each in threading.enumerate()})


async def a_runner(storage: AsyncStorage) -> Runner:
    return await storage.runner(workflows=["Order"], name="late")


async def test_a_forgotten_await_says_what_to_write(storage: AsyncStorage) -> None:
    starting: Any = storage.runner(workflows=["Order"])
    with pytest.raises(AttributeError, match="await storage.runner"):
        starting.claims()
    with pytest.raises(TypeError, match="async with storage.runner"), starting:
        pass
