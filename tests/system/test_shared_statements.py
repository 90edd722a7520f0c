"""Callers who share statements each get what they would get alone, from a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConflictError,
    Context,
    Instance,
    InstanceExistsError,
    OperationTimeoutError,
    RejectedError,
    StaleInstanceError,
    Status,
    StorageClosedError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.faults import Faults
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


def order(id: str, **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


class TestARealServer:
    async def test_calls_for_one_id_take_effect_in_order(self, storage: AsyncStorage) -> None:
        calls: list[Any] = []
        for n in range(40):
            for id in ("a", "b"):
                calls += [storage.put(order(id, context=Context({"n": n}))), storage.get(id)]
        results = await asyncio.gather(*calls)

        for at, id in enumerate(("a", "b")):
            puts, gets = results[2 * at :: 4], results[2 * at + 1 :: 4]
            first = puts[0].revision
            assert [put.revision for put in puts] == list(range(first, first + 40))
            assert [got.context.initial["n"] for got in gets] == list(range(40))
            assert {got.id for got in gets} == {id}

    @pytest.mark.parametrize("callers", (1, 64, 1000))
    async def test_every_verb_answers_each_caller_for_itself(
        self, storage: AsyncStorage, callers: int
    ) -> None:
        async def live(n: int) -> None:
            id = f"x::{n}"
            inserted = await storage.insert(order(id, context=Context({"n": n})))
            with pytest.raises(InstanceExistsError) as exists:
                await storage.insert(order(id))
            assert exists.value.id == id
            updated = await storage.update(replace(inserted, status=Status.RUNNING))
            with pytest.raises(StaleInstanceError) as stale:
                await storage.update(inserted)
            assert stale.value.id == id
            assert (stale.value.expected, stale.value.found) == (
                inserted.revision,
                updated.revision,
            )
            done = await storage.put(replace(updated, status=Status.COMPLETED))
            assert await storage.get(id) == done
            again = await storage.insert(order(id), replace_finished=True)
            first = inserted.revision or 0
            revisions = [each.revision for each in (updated, done, again)]
            assert revisions == [first + 1, first + 2, first + 3]
            with pytest.raises(StaleInstanceError):
                await storage.delete(id, revision=done.revision)
            assert await storage.delete(id, revision=again.revision) is True
            assert await storage.delete(id) is False
            assert await storage.get(id) is None

        await asyncio.gather(*map(live, range(callers)))
        assert await storage.count() == 0

    async def test_a_row_that_the_server_refuses_fails_alone(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        await pool.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances"
            ' ADD CHECK (NOT state @> \'{"runtime_metadata": {"poison": true}}\')'
        )
        instances = [order(f"x::{n:02}") for n in range(50)]
        instances[30] = replace(instances[30], runtime_metadata={"poison": True})

        results = await asyncio.gather(*map(storage.put, instances), return_exceptions=True)

        assert [n for n, got in enumerate(results) if isinstance(got, Exception)] == [30]
        assert isinstance(results[30], RejectedError)
        assert await storage.count() == 49

    async def test_locked_rows_hold_up_no_other_row(self, storage: AsyncStorage) -> None:
        first = {id: (await storage.insert(order(id))).revision or 0 for id in "abc"}
        async with storage.transaction() as transaction:
            await transaction.put_many([order("a"), order("b")])
            waiting = [asyncio.create_task(storage.put(order("a")))]
            await asyncio.sleep(0)
            waiting.append(asyncio.create_task(storage.put(order("b"))))
            await asyncio.sleep(0)
            # Both wait for this very transaction.
            found = await storage.get("c")
            assert found is not None
            assert not any(task.done() for task in waiting)
        assert [(await task).revision for task in waiting] == [first["a"] + 2, first["b"] + 2]

    @pytest.mark.parametrize("verb", ("put", "insert", "update", "delete"))
    async def test_a_locked_row_holds_up_no_neighbour_in_its_statement(
        self, storage: AsyncStorage, verb: str
    ) -> None:
        held = await asyncio.gather(*(storage.put(order(f"x::{n:02}")) for n in range(30)))
        calls: dict[str, Callable[[Instance], Awaitable[object]]] = {
            "put": storage.put,
            "insert": storage.insert,
            "update": storage.update,
            "delete": lambda instance: storage.delete(instance.id),
        }
        async with storage.transaction() as transaction:
            await transaction.connection.execute(
                f"SELECT FROM {storage.schema}.workflow_instances WHERE id = 'x::17' FOR UPDATE"
            )
            first = asyncio.ensure_future(storage.get("x::00"))
            await asyncio.sleep(0)  # it is under way: the others gather
            tasks = [asyncio.ensure_future(calls[verb](instance)) for instance in held]
            await asyncio.wait([*tasks[:17], *tasks[18:]])
            assert not tasks[17].done()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        failed = {type(result) for result in results if isinstance(result, Exception)}
        assert failed == ({InstanceExistsError} if verb == "insert" else set())

    async def test_what_may_happen_twice_is_tried_again_together_too(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        changed = ConflictError("the schema changed", applied="unknown", retryable=True)
        faults.refuse("BATCH put", error=changed)
        puts = await asyncio.gather(*(storage.put(order(f"x::{n}")) for n in range(9)))

        assert faults.sent == ["put", "BATCH put", "BATCH put"]
        assert await storage.get_many(put.id for put in puts) == {put.id: put for put in puts}

    async def test_what_is_stored_is_what_was_passed_at_the_call(
        self, storage: AsyncStorage
    ) -> None:
        context = {"n": 1}
        puts = [asyncio.ensure_future(storage.put(order(f"x::{n}"))) for n in range(20)]
        last = asyncio.ensure_future(storage.put(Instance.new("W", context, id="last")))
        await asyncio.sleep(0)
        context["n"] = 2
        await asyncio.gather(*puts, last)

        read = await storage.get("last")
        assert read is not None
        assert read.context.initial == {"n": 1}

    async def test_closing_drains(self, start: Start) -> None:
        storage = await start()
        puts = [asyncio.ensure_future(storage.put(order(f"x::{n}"))) for n in range(300)]
        await asyncio.sleep(0)
        await storage.close()

        assert all(put.done() for put in puts)
        assert {(await put).id for put in puts} == {f"x::{n}" for n in range(300)}
        with pytest.raises(StorageClosedError):
            await storage.put(order("late"))

    async def test_cancels_at_random_leave_no_wrong_answer(self, storage: AsyncStorage) -> None:
        import random

        moments = random.Random(20261122)
        answered = 0

        async def call(n: int) -> None:
            nonlocal answered
            id = f"x::{n % 50}"
            got = await storage.put(order(id)) if n % 2 else await storage.get(id)
            assert got is None or got.id == id
            answered += 1

        for _ in range(30):
            tasks = [asyncio.create_task(call(n)) for n in range(100)]
            for task in moments.sample(tasks, 50):
                await asyncio.sleep(moments.choice((0, 0, 0.0005)))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert answered >= 30 * 50
        stats = storage.process_stats()
        assert stats.is_idle
        assert max(stats.batch_sizes) > 1
        assert await storage.count() <= 50


async def trigger(pool: Pool, schema: str, body: str) -> None:
    await pool.execute(f"""
        CREATE FUNCTION {schema}.judge() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            {body}
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER judge BEFORE INSERT ON {schema}.workflow_instances
            FOR EACH ROW EXECUTE FUNCTION {schema}.judge();
    """)


@pytest.mark.once
async def test_a_statement_too_slow_for_the_role_is_divided(
    dsn: str, migrated: str, pool: Pool, start: Start
) -> None:
    """Each alone is fast enough; together they are not."""
    await trigger(pool, migrated, "PERFORM pg_sleep(0.25);")
    settings = {"statement_timeout": "2s"}
    async with (
        asyncpg.create_pool(dsn, min_size=0, max_size=4, server_settings=settings) as theirs,
        start(pool=theirs, timeout=60) as storage,
    ):
        puts = await asyncio.gather(*[storage.put(order(f"order::{n}")) for n in range(20)])
    assert len(puts) == 20


@pytest.mark.once
async def test_a_call_that_is_too_slow_alone_is_told_so(
    dsn: str, migrated: str, pool: Pool, start: Start
) -> None:
    await trigger(pool, migrated, "IF NEW.id = 'order::7' THEN PERFORM pg_sleep(3600); END IF;")
    settings = {"statement_timeout": "1500ms"}
    async with (
        asyncpg.create_pool(dsn, min_size=0, max_size=4, server_settings=settings) as theirs,
        start(pool=theirs, timeout=60) as storage,
    ):
        puts = await asyncio.gather(
            *[storage.put(order(f"order::{n}")) for n in range(20)], return_exceptions=True
        )
    failed = {n: each for n, each in enumerate(puts) if not isinstance(each, Instance)}
    assert failed.keys() == {7}
    assert isinstance(failed[7], OperationTimeoutError)
