"""What ends a statement that calls share costs only those who would fail alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import (
    Instance,
    OperationTimeoutError,
    UnavailableError,
)
from hephaestus_pg.batching.batcher import Batcher
from tests.support.answering import Server, called

if TYPE_CHECKING:
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


class TestFailure:
    async def test_one_bad_row_fails_alone(self, server: Server) -> None:
        server.poison = {"bad"}
        batcher = Batcher(server.run, num_workers=1)
        ids = ["first", *(f"{n}" for n in range(9)), "bad", *(f"{n}" for n in range(10, 20))]
        tasks = called(batcher, "put", *ids)
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        failed = [id for id, got in zip(ids, answers, strict=True) if isinstance(got, Exception)]
        assert failed == ["bad"]
        assert len(server.sent) < len(ids)  # by halves, not one by one

    async def test_an_error_of_the_whole_reaches_each_caller_as_its_own(
        self, server: Server
    ) -> None:
        cause = ConnectionResetError()
        server.error = UnavailableError("gone", applied="no", retryable=True)
        server.error.__cause__ = cause
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "put", *"abcd")
        await server.answer_all()
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert [str(error) for error in errors] == ["gone"] * 4
        assert len({id(error) for error in errors}) == 4
        assert all(isinstance(error, UnavailableError) for error in errors)
        assert {getattr(error, "__cause__", None) for error in errors} == {cause}
        assert batcher.ids_held == 0


def order(n: int, **context: Any) -> Instance:
    return Instance.new("Order", context, id=f"order::{n}")


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
        puts = await asyncio.gather(*[storage.put(order(n)) for n in range(20)])
    assert len(puts) == 20


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
            *[storage.put(order(n)) for n in range(20)], return_exceptions=True
        )
    failed = {n: each for n, each in enumerate(puts) if not isinstance(each, Instance)}
    assert failed.keys() == {7}
    assert isinstance(failed[7], OperationTimeoutError)
