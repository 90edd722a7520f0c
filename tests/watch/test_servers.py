"""Servers, roles and settings under which nobody can listen, or not for long: who waits looks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, migrations
from hephaestus_pg.watch import watchers
from tests.migrations.test_owners import as_role, role
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens, within
from tests.system.test_failover import pair, replayed
from tests.system.test_pgbouncer import PROGRAM, running
from tests.watch.conftest import done, listens, watchers_of

if TYPE_CHECKING:
    from hephaestus_pg.embedded import EmbeddedServer
    from tests.support.databases import Owner
    from tests.support.starting import Start
    from tests.system.test_failover import Pair

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.once

__all__ = ["pair", "role"]  # fixtures

SECONDS = 5.0
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


class TestRights:
    async def test_a_role_that_may_not_read_the_table_of_runners_waits_and_is_waited_for(  # noqa: PLR0917
        self, dsn: str, role: str, owner: Owner, storage: AsyncStorage, start: Start, quick: None
    ) -> None:
        owner.execute(f"REVOKE ALL ON {storage.schema}.workflow_runners FROM {role}")
        async with start(as_role(dsn, role)) as theirs:
            task = asyncio.create_task(theirs.wait("x"))
            stored = await storage.put(done())
            assert await task == stored
            assert not theirs._subscription.is_told
            task = asyncio.create_task(storage.wait("y"))
            stored = await theirs.put(done("y"))
            assert await task == stored

    async def test_one_that_may_not_write_it_is_told_so_once(  # noqa: PLR0917
        self,
        dsn: str,
        role: str,
        owner: Owner,
        storage: AsyncStorage,
        start: Start,
        caplog: pytest.LogCaptureFixture,
        quick: None,
    ) -> None:
        owner.execute(f"REVOKE INSERT ON {storage.schema}.workflow_runners FROM {role}")
        async with start(as_role(dsn, role)) as theirs:
            task = asyncio.create_task(theirs.wait("x"))
            await happens(lambda: theirs._watchers.looks > 3)
            stored = await storage.put(done())
            assert await task == stored
            assert len(warnings(caplog)) == 1
            assert "permission denied for table workflow_runners" in caplog.text
            owner.execute(f"GRANT INSERT ON {storage.schema}.workflow_runners TO {role}")
            task = asyncio.create_task(theirs.wait("y"))
            await listens(theirs)
            task.cancel()


class TestSettings:
    async def test_a_server_that_ends_what_idles_leaves_the_listening_connection(
        self, start: Start, pool: Pool, schema: str
    ) -> None:
        settings = {"idle_session_timeout": "300ms", "application_name": schema}
        async with start(server_settings=settings) as storage:
            task = asyncio.create_task(storage.wait("x"))
            await listens(storage)
            async with asyncio.timeout(WAIT_SECONDS):
                while await pool.fetchval(BACKENDS, schema) > 1:  # the pool's own are ended
                    await asyncio.sleep(0.05)
            assert storage._subscription.is_told
            assert await pool.fetchval(BACKENDS, schema) == 1
            task.cancel()

    async def test_a_session_that_may_only_read_waits(
        self, storage: AsyncStorage, start: Start, caplog: pytest.LogCaptureFixture, quick: None
    ) -> None:
        settings = {"default_transaction_read_only": "on"}
        async with start(server_settings=settings) as reader:
            task = asyncio.create_task(reader.wait("x"))
            await happens(lambda: reader._watchers.looks > 3)
            stored = await storage.put(done())
            assert await task == stored
        assert len(warnings(caplog)) == 1
        assert "default_transaction_read_only is on" in caplog.text

    async def test_a_role_that_has_no_connection_to_spare_waits(  # noqa: PLR0917
        self, dsn: str, role: str, owner: Owner, storage: AsyncStorage, start: Start, quick: None
    ) -> None:
        owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT 1")
        async with start(as_role(dsn, role), max_size=1) as theirs:
            task = asyncio.create_task(theirs.wait("x"))
            await happens(lambda: theirs._watchers.looks > 3)
            assert not theirs._subscription.is_told
            stored = await storage.put(done())
            assert await task == stored
            owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
            task = asyncio.create_task(theirs.wait("y"))
            await listens(theirs)
            task.cancel()


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
async def test_a_pool_that_leads_to_pgbouncer_unbeknown_to_us(
    storage: AsyncStorage, start: Start, dsn: str
) -> None:
    """LISTEN succeeds there, in a session that is anybody's a moment later."""
    with running(dsn) as bouncer:
        async with (
            asyncpg.create_pool(bouncer.dsn, statement_cache_size=0, min_size=1) as pool,
            start(pool=pool) as behind,
        ):
            task = asyncio.create_task(behind.wait("x"))
            await listens(behind)
            await behind.put(Instance("z", "Order"))
            await storage.put(done())
            async with within(SECONDS):
                await task


async def test_a_standby_is_waited_on(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    await migrations.up(pair.primary.dsn)
    await replayed(pair)
    async with (
        AsyncStorage.start(pair.primary.dsn, name="primary", references=Names()) as primary,
        AsyncStorage.start(
            f"{pair.standby.dsn}?target_session_attrs=any", name="standby", references=Names()
        ) as standby,
    ):
        task = asyncio.create_task(standby.wait("x"))
        await happens(lambda: warnings(caplog))
        await primary.put(done())
        async with within(SECONDS):
            await task
        assert not standby._subscription.is_told
    assert len(warnings(caplog)) == 1
    assert "standby" in warnings(caplog)[0]


async def test_a_restart_costs_a_few_lines_and_seconds(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(watchers, "ANSWER_SECONDS", 0.1)
    async with AsyncStorage.start(own_server.dsn, references=Names()) as storage:
        waits = [asyncio.create_task(storage.wait(str(number))) for number in range(100)]
        await listens(storage)
        await asyncio.to_thread(own_server.stop)
        await happens(lambda: watchers_of(storage)._failures > 5)
        assert len(warnings(caplog)) < 10
        await asyncio.to_thread(own_server.start)
        async with within(SECONDS):
            await listens(storage)
        connection = await asyncpg.connect(own_server.dsn)
        await connection.execute("""
            INSERT INTO workflow_instances (id, workflow, status, inserted_at, updated_at)
            SELECT n::text, 'Order', 'completed', now(), now() FROM generate_series(0, 99) AS n
        """)
        await connection.close()
        async with within(SECONDS):
            await asyncio.gather(*waits)
