"""What Citus says, in a warning, of a commit that a worker did not hear."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import ConnectionLostError
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.two_phase import heard_by_all

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

WARNING = "DO $$ BEGIN RAISE WARNING '{}'; END $$"
UNHEARD = WARNING.format("failed to commit transaction on 10.0.0.1:5432")


async def test_a_commit_that_a_worker_did_not_hear_is_of_unknown_outcome(pool: Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(ConnectionLostError, match=r"worker 10\.0\.0\.1:5432 was") as caught:
            await heard_by_all(connection, lambda: connection.execute(UNHEARD))
        assert await heard_by_all(connection, lambda: connection.fetchval("SELECT 1")) == 1
    assert (caught.value.applied, caught.value.retryable) == ("unknown", True)


async def test_other_warnings_and_errors_stay_what_they_are(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await heard_by_all(
            connection, lambda: connection.execute(WARNING.format("failed to find it"))
        )
        with pytest.raises(asyncpg.DivisionByZeroError):
            await heard_by_all(connection, lambda: connection.execute("SELECT 1 / 0"))


async def test_no_listener_stays_on_a_connection_that_goes_back(pool: Pool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", asyncpg.InterfaceWarning)
        async with pool.acquire() as connection:
            await heard_by_all(connection, lambda: connection.execute("SELECT 1"))
            with pytest.raises(asyncpg.DivisionByZeroError):
                await heard_by_all(connection, lambda: connection.execute("SELECT 1 / 0"))


async def test_what_broke_meanwhile_may_have_had_its_effect(pool: Pool) -> None:
    with pytest.raises(ConnectionLostError) as caught:
        async with pool.acquire() as connection:
            with translated_errors(connection=connection):
                ended = "SELECT pg_terminate_backend(pg_backend_pid())"
                await heard_by_all(connection, lambda: connection.execute(ended))
    assert caught.value.applied == "unknown"
