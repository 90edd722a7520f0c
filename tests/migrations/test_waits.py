"""Waits for locks that others hold."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest

from hephaestus_pg import _sql, migrations
from hephaestus_pg.errors import MigrationLockError
from hephaestus_pg.migrations import session


@pytest.mark.parametrize("kind", ("advisory", "table", "prepared"))
async def test_a_long_wait_logs_who_holds_the_lock(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    monkeypatch.setattr("hephaestus_pg.migrations.waits.WARN_AFTER", 0.0)
    monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
    await migrations.up(database, version=3)
    holder = await asyncpg.connect(
        database, server_settings={"application_name": "the nightly report"}
    )
    who = rf"process {holder.get_server_pid()} \(the nightly report\), since 2\d\d\d-.* UTC"
    if kind == "advisory":
        await holder.execute(_sql.statement("migrations_lock", "public"))
        release = _sql.statement("migrations_unlock", "public")
    elif kind == "table":
        await holder.execute("BEGIN; SELECT count(*) FROM workflow_instances")
        release = "ROLLBACK"
    else:
        if await holder.fetchval("SHOW max_prepared_transactions") == "0":
            await holder.close()
            pytest.skip("the server has no prepared transactions")
        await holder.execute("BEGIN; DELETE FROM workflow_instances; PREPARE TRANSACTION 'x'")
        release, who = "ROLLBACK PREPARED 'x'", r"a prepared transaction \(pg_prepared_xacts\)"
    with pytest.raises(MigrationLockError, match=who):
        await migrations.up(database, wait=0)
    task = asyncio.create_task(migrations.up(database))
    async with asyncio.timeout(30):
        while "waiting for" not in caplog.text:
            await asyncio.sleep(0.01)
    await holder.execute(release)
    await task
    await holder.close()
    found = [each.getMessage() for each in caplog.records if "waiting for" in each.getMessage()]
    assert len(found) == 1
    what = "the lock of its migrations" if kind == "advisory" else "its tables"
    assert re.fullmatch(rf"schema public: waiting for {what}: .*{who}.*", found[0])


async def test_who_holds_the_table_of_runners_is_named_too(dsn: str, migrated: str) -> None:
    """A run that takes it away waits for whoever only reads there."""
    holder = await asyncpg.connect(dsn)
    await holder.execute(f"BEGIN; SELECT count(*) FROM {migrated}.workflow_runners")
    with pytest.raises(MigrationLockError, match=f"process {holder.get_server_pid()} "):
        await migrations.down(dsn, schema=migrated, version=5, wait=0)
    await holder.close()


@pytest.mark.parametrize("work", ("status", "plan"))
async def test_a_long_wait_to_read_logs_who_lets_nobody(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: str
) -> None:
    monkeypatch.setattr("hephaestus_pg.migrations.waits.WARN_AFTER", 0.0)
    await migrations.up(database)
    holder = await asyncpg.connect(database)
    await holder.execute("BEGIN; LOCK TABLE workflow_instances, hephaestus_pg_migrations")
    task = asyncio.create_task(getattr(migrations, work)(database))
    said = f"waiting for transactions that use its tables: process {holder.get_server_pid()}"
    async with asyncio.timeout(30):
        while said not in caplog.text:
            await asyncio.sleep(0.01)
    await holder.close()
    await task


async def test_a_long_wait_of_the_server_itself_logs_older_transactions(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An index that is built concurrently waits for every transaction that began before."""
    monkeypatch.setattr("hephaestus_pg.migrations.waits.WARN_AFTER", 0.0)
    await migrations.up(database, version=3)
    holder = await asyncpg.connect(database)
    await holder.execute("BEGIN; DELETE FROM workflow_instances")
    task = asyncio.create_task(migrations.up(database, online=True))
    said = f"waiting for transactions that use its tables: process {holder.get_server_pid()}"
    async with asyncio.timeout(30):
        while said not in caplog.text:
            await asyncio.sleep(0.01)
    await holder.execute("ROLLBACK")
    await task
    await holder.close()
