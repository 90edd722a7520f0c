from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    ClaimLostError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    RejectedError,
    RunnerEndedError,
    StaleInstanceError,
    Status,
    UnavailableError,
)
from hephaestus_pg.testing import Clock, Faults

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage, Claim, Runner
    from tests.support.starting import Start

NUMBER = 40
IDS = [f"order::{number}" for number in range(NUMBER)]


@pytest.fixture(params=("batching", "plain", "own pool"))
async def held(
    request: pytest.FixtureRequest, start: Start, pool: asyncpg.Pool[asyncpg.Record]
) -> AsyncStorage:
    """A storage whose calls share statements, one whose do not, and one on a user's pool."""
    if request.param == "own pool":
        return await start(pool=pool)
    return await start(batching=request.param == "batching")


def orders() -> list[Instance]:
    return [Instance(id, "Order") for id in IDS]


async def next_claim(runner: Runner) -> Claim:
    async with asyncio.timeout(30):
        return await anext(runner.claims())


async def test_a_write_whose_answer_is_lost_is_there(held: AsyncStorage) -> None:
    with Faults(held) as faults:
        faults.lose_answer("insert")
        inserted = await held.insert(Instance("order::1", "Order"))
        faults.lose_answer("update")
        updated = await held.update(replace(inserted, status=Status.RUNNING))

    assert await held.get("order::1") == updated
    assert updated.revision == (inserted.revision or 0) + 1


async def test_a_write_whose_connection_broke_before_is_sent_again(held: AsyncStorage) -> None:
    with Faults(held) as faults:
        faults.break_connection("insert", times=2)
        inserted = await held.insert(Instance("order::1", "Order"))

        assert faults.tried.count("insert") == 3
    assert await held.get("order::1") == inserted


async def test_what_goes_wrong_for_callers_at_once_goes_right_in_the_end(
    held: AsyncStorage,
) -> None:
    with Faults(held) as faults:
        faults.lose_answer("insert", times=2)
        faults.break_connection("insert")
        inserted = await asyncio.gather(*map(held.insert, orders()))

        assert faults.planned == 0
        assert set(faults.tried) <= {"insert", "get", "terminate_backend"}
    assert await held.get_many(IDS) == {each.id: each for each in inserted}


async def test_of_callers_at_once_as_many_are_refused_as_were_to_be(held: AsyncStorage) -> None:
    with Faults(held) as faults:
        faults.refuse("put", times=2)
        ended = await asyncio.gather(*map(held.put, orders()), return_exceptions=True)

    refused = [id for id, each in zip(IDS, ended, strict=True) if isinstance(each, RejectedError)]
    assert len(refused) == 2
    assert (await held.get_many(IDS)).keys() == set(IDS) - set(refused)


async def test_a_refusal_is_the_error_that_was_given_each_time(held: AsyncStorage) -> None:
    full = UnavailableError("too many connections", applied="no", retryable=False)
    with Faults(held) as faults:
        faults.refuse("get", error=full, times=2)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="too many connections") as caught:
                await held.get("order::1")
            assert caught.value is not full
        assert await held.get("order::1") is None


async def test_another_may_write_while_a_statement_is_held(held: AsyncStorage) -> None:
    inserted = await held.insert(Instance("order::1", "Order"))
    with Faults(held) as faults:
        update = faults.delay("update")
        updating = asyncio.create_task(held.update(replace(inserted, current_step="charge")))
        await update.started.wait()
        async with held.transaction() as transaction:
            await transaction.put(replace(inserted, current_step="cancel"))
        update.release()
        with pytest.raises(StaleInstanceError):
            await updating


async def test_faults_of_one_verb_happen_in_their_order(held: AsyncStorage) -> None:
    seen = []
    with Faults(held) as faults:
        for number in range(3):
            error = RejectedError(f"number {number}", applied="no", retryable=False)
            faults.refuse("get" if number else None, error=error)
        for _ in range(3):
            with pytest.raises(RejectedError) as caught:
                await held.get("order::1")
            seen.append(str(caught.value))
    assert [text.partition("number ")[2][0] for text in seen] == ["0", "1", "2"]


async def test_a_verb_is_refused_by_its_name(storage: AsyncStorage) -> None:
    one = Instance("x", "Order")
    with Faults(storage) as faults:
        for verb, call in (
            ("get", storage.get("x")),
            ("put", storage.put(one)),
            ("insert", storage.insert(one)),
            ("delete", storage.delete("x")),
            ("get_many", storage.get_many(["x"])),
            ("transaction", storage.put_many([one])),
            ("transaction", storage.delete_many(["x"])),
            ("query", storage.query(status="pending")),
            ("query", anext(storage.stream())),
            ("query", storage.query(limit=1, order_by="inserted_at")),
            ("count", storage.count()),
            ("release", storage.release("x")),
            ("runners", storage.runners()),
            ("stuck", storage.stuck()),
            ("migrated_version", storage.migrated_version()),
            ("wait", storage.wait("x", timeout=10)),
        ):
            faults.refuse(verb)
            with pytest.raises(RejectedError, match="refused by a test"):
                await call


async def test_a_runners_statements_have_names_too(storage: AsyncStorage) -> None:
    await storage.put_many(orders())
    with Faults(storage) as faults:
        async with storage.runner(workflows=["Order"]) as runner:
            faults.refuse("claim", times=2)
            with pytest.raises(RejectedError):
                await runner.claim(IDS[0])
            with pytest.raises(RejectedError):
                await anext(runner.claims())
            for verb, error in (("give_back", None), ("fail", ArithmeticError)):
                faults.lose_answer(verb)
                claim = await next_claim(runner)
                with pytest.raises(ArithmeticError) if error else pytest.MonkeyPatch.context():
                    async with claim:
                        if error:
                            raise error
            faults.lose_answer("stop")
    assert await storage.count(runner=None) == NUMBER


# What is left


async def test_a_fault_that_did_not_happen_is_an_error_that_names_it(
    storage: AsyncStorage,
) -> None:
    left = r"lose_answer\('put'\), 2 times, delay\(\); plan"
    with pytest.raises(LifecycleError, match=left), Faults(storage) as faults:
        faults.refuse("get")
        faults.lose_answer("put", times=2)
        faults.delay()
        with pytest.raises(RejectedError):
            await storage.get("x")


async def test_what_the_block_raised_is_not_hidden_by_that(storage: AsyncStorage) -> None:
    with pytest.raises(ArithmeticError), Faults(storage) as faults:
        faults.refuse("put")
        raise ArithmeticError
    await storage.put(Instance("x", "Order"))


async def test_none_is_left_to_the_next_block_nor_held(storage: AsyncStorage) -> None:
    with Faults(storage) as faults:
        held = faults.delay("put")
        putting = asyncio.create_task(storage.put(Instance("x", "Order")))
        await held.started.wait()
    assert await putting == await storage.get("x")
    with Faults(storage) as faults:
        assert faults.planned == 0
        faults.refuse()
        faults.clear()
        await storage.get("x")
        assert faults.tried == ["get"]


async def test_a_storage_has_one_place_for_faults(storage: AsyncStorage, start: Start) -> None:
    other = await start(share=storage)
    with Faults(storage) as faults, Faults(other):
        with pytest.raises(LifecycleError, match="has faults already"), Faults(storage):
            pass
        faults.refuse("get")
        assert await other.get("x") is None
        with pytest.raises(RejectedError):
            await storage.get("x")


async def test_what_makes_no_fault_is_refused_at_once(storage: AsyncStorage) -> None:
    with Faults(storage) as faults:
        with pytest.raises(InvalidValueError, match=r"of is 'updat': name a verb: .*\bupdate\b"):
            faults.lose_answer("updat")
        with pytest.raises(InvalidValueError, match="put_many and delete_many are a transaction"):
            faults.delay("put_many")
        with pytest.raises(InvalidValueError, match="times is 0"):
            faults.break_connection(times=0)
        with pytest.raises(InvalidTypeError, match="give a DatabaseError"):
            faults.refuse("get", error=ValueError())  # type: ignore[arg-type]
        with pytest.raises(InvalidTypeError, match="give a runner of the storage"):
            await faults.expire_lease("worker-1")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="give a started storage"):
        Faults("postgresql://")  # type: ignore[arg-type]


async def test_inside_a_transaction_nothing_goes_wrong(storage: AsyncStorage) -> None:
    with Faults(storage) as faults:
        faults.refuse()
        async with storage.transaction() as transaction:
            await transaction.put(Instance("x", "Order"))
        with pytest.raises(RejectedError):
            await storage.get("x")


# Leases


async def test_a_crash_between_two_steps(storage: AsyncStorage) -> None:
    await storage.insert(Instance("order::1", "Order"))
    with Faults(storage) as faults:
        async with storage.runner(workflows=["Order"]) as first:
            with pytest.raises(ClaimLostError):
                async with await next_claim(first) as order:
                    await storage.update(replace(order, current_step="charged"))
                    await faults.expire_lease(first)  # it dies here, before it has shipped
        async with storage.runner(workflows=["Order"]) as second, await next_claim(second) as order:
            assert order.current_step == "charged"
            await storage.update(replace(order, status=Status.COMPLETED))


async def test_what_a_runner_writes_that_was_paused_is_stale(
    storage: AsyncStorage, start: Start
) -> None:
    elsewhere = await start()
    await storage.insert(Instance("order::1", "Order"))
    async with elsewhere.runner(workflows=["Order"]) as other:
        with Faults(storage) as faults:
            async with storage.runner(workflows=["Order"]) as paused:
                with pytest.raises(ClaimLostError, match="somebody else has ended it"):
                    async with await next_claim(paused) as order:
                        waiting = asyncio.create_task(next_claim(other))
                        await faults.expire_lease(paused)
                        assert [each.token for each in await storage.runners()] == [other.token]
                        async with await waiting as theirs:
                            await elsewhere.update(replace(theirs, current_step="theirs"))
                            await storage.update(replace(order, current_step="mine"))
        held = await storage.get("order::1")
    assert held is not None
    assert held.current_step == "theirs"


async def test_a_runner_whose_lease_was_ended_hears_of_it_at_the_end_of_the_block(
    storage: AsyncStorage,
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        with Faults(storage) as faults:
            await faults.expire_lease(runner)
            waiting = asyncio.create_task(next_claim(runner))
            await storage.insert(Instance("order::1", "Order"))
            assert await runner.claim("order::1") is None
        with pytest.raises(RunnerEndedError, match="lease had ended"):
            await waiting


async def test_no_step_of_the_clock_revives_it(moved: AsyncStorage) -> None:
    await moved.insert(Instance("order::1", "Order"))
    with Faults(moved) as faults:
        async with moved.runner(workflows=["Order"], retry_after=lambda _: 600.0) as runner:
            with pytest.raises(ClaimLostError):
                async with await next_claim(runner):
                    await faults.expire_lease(runner)
                    await Clock(moved).advance(0.5)
                    assert await moved.runners() == []
        async with moved.runner(workflows=["Order"]) as second:
            assert await second.claim("order::1") is None  # the backoff is longer than the lease
            await Clock(moved).advance(600)
            async with await next_claim(second) as order:
                assert order.id == "order::1"
