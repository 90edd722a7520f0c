"""The lock of a schema, and the transactions under it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import InvalidValueError, MigrationLockError, RejectedError
from hephaestus_pg.migrations import session
from tests.support.catalog import WAIT_SECONDS, until
from tests.support.migrated import advisory_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.migrated import Link


async def settings(link: Link) -> list[str]:
    names = ("lock_timeout", "statement_timeout", "plan_cache_mode")
    return [await link.fetchval("SELECT current_setting($1)", name) for name in names]


async def test_waiting_too_long_for_another_run_is_a_lock_error(
    link: Link, dsn: str, schema: str
) -> None:
    async with session.MigrationSession.opened(link, schema, wait=1):
        with pytest.raises(MigrationLockError, match="another process has been migrating"):
            await migrations.up(dsn, schema=schema, wait=0.2)
    await migrations.up(dsn, schema=schema, wait=0.2)


@pytest.mark.parametrize("wait", (float("nan"), -1, "5", None, True))
async def test_a_time_to_wait_that_is_none_is_refused(wait: Any) -> None:
    """No comparison with NaN is true: the wait would have no end."""
    calls: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
        "up": migrations.up,
        "down": partial(migrations.down, version=0),
        "index": partial(migrations.index, profile="none"),
        "distribute": partial(migrations.distribute, by="id"),
        "undistribute": migrations.undistribute,
    }
    for call in calls.values():
        with pytest.raises(InvalidValueError, match="^wait is .*: give .*seconds"):
            await call("postgresql://127.0.0.1:1/none", wait=wait)


async def test_a_run_that_is_cancelled_as_it_gets_the_lock_does_not_keep_it(
    link: Link, dsn: str, schema: str
) -> None:
    class Cancelled(asyncpg.Connection):
        async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
            value = await super().fetchval(query, *arguments, **options)
            if "pg_try_advisory_lock" in query:
                raise asyncio.CancelledError
            return value

    theirs = await asyncpg.connect(dsn, connection_class=Cancelled)
    try:
        with pytest.raises(asyncio.CancelledError):
            await migrations.up(connection=theirs, schema=schema)
        assert not theirs.is_closed()
        assert await advisory_locks(link) == 0
    finally:
        await theirs.close()


async def test_schemas_are_migrated_independently(database: str) -> None:
    other = await asyncpg.connect(database)
    async with session.MigrationSession.opened(other, "tenant_a", wait=1):
        await migrations.up(database, schema="tenant_b", wait=0.2)
    await other.close()


async def test_a_table_in_use_is_waited_for_without_stopping_its_readers(
    link: Link, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
    await migrations.up(dsn, schema=schema, version=2)
    reader = await asyncpg.connect(dsn, command_timeout=WAIT_SECONDS)
    count = f"SELECT count(*) FROM {schema}.workflow_instances"
    held = link.transaction()
    await held.start()
    await link.fetchval(count)
    task = asyncio.create_task(migrations.up(dsn, schema=schema, wait=60))
    queued = f"""
        SELECT count(*) FROM pg_locks
        WHERE relation = '{schema}.workflow_instances'::regclass AND NOT granted
    """
    for _ in range(3):  # It asks again and again, and every time lets go.
        await until(link, queued)
        await reader.fetchval(count)
    assert not task.done()
    await held.rollback()
    result = await task
    assert result.to_version == migrations.LATEST
    await reader.close()


async def test_a_table_that_stays_in_use_ends_the_run_with_advice(
    link: Link, dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    async with link.transaction():
        await link.fetchval(f"SELECT count(*) FROM {schema}.workflow_instances")
        with pytest.raises(MigrationLockError, match="pg_stat_activity"):
            await migrations.up(dsn, schema=schema, wait=0)
    assert await migrations.migrated_version(dsn, schema=schema) == 2


@pytest.mark.parametrize("table", ("workflow_instances", "hephaestus_pg_migrations"))
@pytest.mark.parametrize("work", ("up", "down", "index"))
async def test_a_table_that_nobody_may_read_is_waited_for_too(
    link: Link, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch, *, work: str, table: str
) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
    await migrations.up(dsn, schema=schema, version=None if work == "index" else 2)
    calls: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
        "up": migrations.up,
        "down": partial(migrations.down, version=1),
        "index": partial(migrations.index, profile="initial"),
    }
    await link.execute(f"BEGIN; LOCK TABLE {schema}.{table}")
    with pytest.raises(MigrationLockError, match=f"process {link.get_server_pid()} "):
        await calls[work](dsn, schema=schema, wait=0)
    task = asyncio.create_task(calls[work](dsn, schema=schema))
    await until(
        link,
        f"SELECT count(*) FROM pg_locks WHERE relation = '{schema}.{table}'::regclass "
        "AND NOT granted",
    )
    await link.execute("ROLLBACK")
    await task


async def test_no_timeout_of_the_role_ends_a_step(database: str, link: Link) -> None:
    timeouts = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    version = int(await link.fetchval("SHOW server_version_num"))
    known = timeouts if version >= 170_000 else timeouts[:2]
    await link.execute("CREATE TABLE met (name text, value text)")
    await link.execute("""
        CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.met SELECT name, setting FROM pg_settings
            WHERE name ~ ''(transaction|session|statement)_timeout'' AND setting <> ''0''; END';
        CREATE EVENT TRIGGER look ON ddl_command_end EXECUTE FUNCTION look();
    """)
    for name in known:
        await link.execute(f"SET {name} = '1h'")
    await migrations.up(connection=link, schema="timed")
    assert await link.fetch("SELECT * FROM met") == []
    for name in known:
        assert await link.fetchval(f"SHOW {name}") == "1h"


async def test_the_drivers_own_timeout_ends_no_step(dsn: str, schema: str) -> None:
    """A pool's ``command_timeout`` is made for queries, and counts for its connections."""

    class Limited(asyncpg.Connection):
        """Has one that all which works on the table exceeds."""

        async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:
            if timeout is None and "workflow_instances" in query:
                raise TimeoutError
            return await super().execute(query, *arguments, timeout=timeout)

        async def fetchval(
            self, query: str, *arguments: Any, timeout: float | None = None, **options: Any
        ) -> Any:
            if timeout is None and "UPDATE" in query:
                raise TimeoutError
            return await super().fetchval(query, *arguments, timeout=timeout, **options)

    theirs = await asyncpg.connect(dsn, connection_class=Limited)
    try:
        for online in (False, True):
            await migrations.up(connection=theirs, schema=schema, version=2)
            await migrations.up(connection=theirs, schema=schema, online=online)
            await migrations.index(connection=theirs, schema=schema, profile="none")
            await migrations.index(connection=theirs, schema=schema, profile="full")
            await migrations.down(connection=theirs, schema=schema, version=0)
    finally:
        await theirs.close()


async def test_a_cancelled_run_releases_locks_and_restores_settings(database: str) -> None:
    other, mine = await asyncpg.connect(database), await asyncpg.connect(database)
    await mine.execute("SET lock_timeout = '7s'")
    await migrations.up(database, version=2)
    before = await settings(mine)
    async with other.transaction():
        await other.fetchval("SELECT count(*) FROM workflow_instances")
        task = asyncio.create_task(migrations.up(connection=mine))
        queued = """
            SELECT count(*) FROM pg_locks
            WHERE relation = 'workflow_instances'::regclass AND NOT granted
        """
        await until(other, queued)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await advisory_locks(other) == 0
    assert await settings(mine) == before
    await migrations.up(connection=mine)
    await asyncio.gather(other.close(), mine.close())


async def test_a_failed_run_releases_locks_and_restores_settings(database: str) -> None:
    mine = await asyncpg.connect(database)
    before = await settings(mine)
    await migrations.up(connection=mine, version=2)
    await mine.execute("CREATE VIEW ids AS SELECT id FROM workflow_instances")
    with pytest.raises(RejectedError, match="view"):
        await migrations.up(connection=mine)
    assert await advisory_locks(mine) == 0
    assert await settings(mine) == before
    assert await migrations.migrated_version(connection=mine) == 2
    await mine.close()
