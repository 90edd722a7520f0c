"""What ends a statement that many share costs only those who would fail alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    Instance,
    OperationTimeoutError,
)

if TYPE_CHECKING:
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


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


@pytest.mark.parametrize("statement", ("DEALLOCATE ALL", "DISCARD PLANS; DEALLOCATE ALL"))
@pytest.mark.parametrize("batching", (True, False))
async def test_a_session_that_forgot_its_statements_costs_nobody_anything(
    start: Start, statement: str, batching: bool
) -> None:
    async with start(batching=batching, max_size=1) as storage:
        await storage.put(order(1))
        async with storage.transaction() as tx:
            await tx.get("order::1")
            await tx.connection.execute(statement)
        assert await storage.get("order::1") is not None
        async with storage.transaction() as tx:
            await tx.connection.execute(statement)
        assert (await storage.put(order(1))).revision


async def test_a_pool_whose_reset_forgets_all(dsn: str, start: Start) -> None:
    class Forgetful(asyncpg.Connection):
        def get_reset_query(self) -> str:
            return "DISCARD ALL"

    async with (
        asyncpg.create_pool(dsn, min_size=0, max_size=2, connection_class=Forgetful) as theirs,
        start(pool=theirs) as storage,
    ):
        for n in range(4):
            await storage.put(order(n))
        assert await storage.count() == 4
