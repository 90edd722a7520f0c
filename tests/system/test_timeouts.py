"""What an error says of a call that its deadline ended: the verb, the id, the seconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    OperationTimeoutError,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hephaestus_pg.verbs.pruning import Verbs
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

NOW = datetime.now(UTC)
SECONDS = 0.2


def order(id: str = "order::1", **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


@pytest.fixture
async def locked(storage: AsyncStorage, pool: Pool) -> AsyncIterator[None]:
    """Nobody gets at the table while the test runs."""
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute(f"LOCK {storage.schema}.workflow_instances")
        yield


async def each(stream: AsyncIterator[Instance]) -> None:
    async for _ in stream:
        pass


CALLS: dict[str, Callable[[Verbs], Any]] = {
    "get of 'order::1'": lambda verbs: verbs.get("order::1", timeout=SECONDS),
    "put of 'order::1'": lambda verbs: verbs.put(order(), timeout=SECONDS),
    "insert of 'order::1'": lambda verbs: verbs.insert(order(), timeout=SECONDS),
    "update of 'order::1'": lambda verbs: verbs.update(order(revision=1), timeout=SECONDS),
    "delete of 'order::1'": lambda verbs: verbs.delete("order::1", timeout=SECONDS),
    "put_many": lambda verbs: verbs.put_many([order()], timeout=SECONDS),
    "get_many": lambda verbs: verbs.get_many(["order::1"], timeout=SECONDS),
    "delete_many": lambda verbs: verbs.delete_many(["order::1"], timeout=SECONDS),
    "query": lambda verbs: verbs.query(status=Status.PENDING, timeout=SECONDS),
    "stream": lambda verbs: each(verbs.stream(timeout=SECONDS)),
    "count": lambda verbs: verbs.count(timeout=SECONDS),
    "prune": lambda verbs: verbs.prune(finished_before=NOW, timeout=SECONDS),
}


def assert_named(error: OperationTimeoutError, what: str) -> None:
    verb, _, id = what.partition(" of ")
    assert (error.verb, error.id, error.timeout) == (verb, id.strip("'") or None, SECONDS)
    assert str(error).startswith(f"{what} did not end within 0.2 s: the deadline passed")
    assert str(error).count("did not end") == 1


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("batching", (True, False))
async def test_each_verb_names_itself(
    start: Start, storage: AsyncStorage, what: str, batching: bool
) -> None:
    async with start(batching=batching) as timed:
        with pytest.raises(OperationTimeoutError) as caught:
            await CALLS[what](timed)
    assert_named(caught.value, what)


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("what", CALLS)
async def test_each_verb_names_itself_in_a_transaction(storage: AsyncStorage, what: str) -> None:
    with pytest.raises(OperationTimeoutError) as caught:
        async with storage.transaction() as transaction:
            await CALLS[what](transaction)
    assert_named(caught.value, what)


@pytest.mark.usefixtures("locked")
async def test_callers_who_share_a_statement_are_each_told_of_their_own(
    storage: AsyncStorage,
) -> None:
    ids = [f"order::{n}" for n in range(100)]
    results = await asyncio.gather(
        *(storage.put(order(id), timeout=SECONDS) for id in ids), return_exceptions=True
    )
    for id, error in zip(ids, results, strict=True):
        assert isinstance(error, OperationTimeoutError)
        assert_named(error, f"put of '{id}'")


async def test_a_transaction_that_gets_no_connection_names_itself(start: Start) -> None:
    async with (
        start(max_size=1) as storage,
        storage.transaction(),
    ):
        with pytest.raises(OperationTimeoutError) as caught:
            async with storage.transaction(timeout=SECONDS):
                pass
        assert_named(caught.value, "transaction")
        with pytest.raises(OperationTimeoutError) as caught:
            await storage.get("order::1", timeout=SECONDS)
        assert_named(caught.value, "get of 'order::1'")
        assert caught.value.applied == "no"


async def test_a_server_whose_timeout_is_shorter_is_told_apart(
    dsn: str, migrated: str, pool: Pool, start: Start
) -> None:
    async with (
        asyncpg.create_pool(dsn, min_size=0) as limited,
        start(pool=limited) as s,
        pool.acquire() as holder,
        holder.transaction(),
    ):
        # Not from the first: on a busy machine the start may need longer.
        limited.set_connect_args(dsn, server_settings={"statement_timeout": "100ms"})
        await limited.expire_connections()
        await holder.execute(f"LOCK {migrated}.workflow_instances")
        with pytest.raises(
            OperationTimeoutError, match=r"^get of 'x' was ended after .* of its 30 s: "
        ):
            await s.get("x")


def test_one_that_is_completed_twice_keeps_what_was_said_first() -> None:
    error = OperationTimeoutError("the deadline passed", applied="no", retryable=True)
    assert (error.verb, error.id, error.timeout) == (None, None, None)
    error.complete("put", "x", timeout=2, taken=2)
    error.complete("transaction", None, timeout=30, taken=2)
    assert str(error) == "put of 'x' did not end within 2 s: the deadline passed"
