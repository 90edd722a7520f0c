"""Connections that migrate: the caller's or our own, checked before and left in order."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import (
    DatabaseError,
    InvalidTypeError,
    InvalidValueError,
    MigrationError,
    UnavailableError,
)
from hephaestus_pg.migrations import connections, session
from tests.chaos.proxy import Proxy
from tests.support.catalog import WAIT_SECONDS, until
from tests.support.migrated import advisory_locks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.migrated import Link


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation"


class TestReadOnly:
    @pytest.mark.parametrize("work", ("up", "down", "index"))
    @pytest.mark.parametrize("where", ("the database", "the connection"))
    async def test_a_setting_that_makes_all_read_only_is_named(
        self, database: str, work: str, where: str
    ) -> None:
        await migrations.up(database, version=4)
        link = await asyncpg.connect(database)
        name = await link.fetchval("SELECT current_database()")
        setting = "SET default_transaction_read_only = on"
        await link.execute(
            f"ALTER DATABASE {name} {setting}" if where == "the database" else setting
        )
        given: dict[str, Any] = (
            {"dsn": database} if where == "the database" else {"connection": link}
        )
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "up": lambda: migrations.up(**given),
            "down": lambda: migrations.down(**given, version=2),
            "index": lambda: migrations.index(**given, profile="none"),
        }
        with pytest.raises(
            MigrationError, match=r"default_transaction_read_only = on.*another role"
        ):
            await calls[work]()
        assert (await migrations.status(**given)).version == 4
        await link.close()


async def test_a_connection_of_the_callers_own_stays_open(link: Link, schema: str) -> None:
    await migrations.up(connection=link, schema=schema)
    assert await migrations.migrated_version(connection=link, schema=schema) == migrations.LATEST
    assert (
        len((await migrations.status(connection=link, schema=schema)).migrations)
        == migrations.LATEST
    )
    await migrations.down(connection=link, schema=schema, version=0)
    assert not link.is_closed()


async def test_a_connection_in_a_transaction_is_refused(link: Link, schema: str) -> None:
    async with link.transaction():
        with pytest.raises(InvalidValueError, match="outside a transaction"):
            await migrations.up(connection=link, schema=schema)
        assert await migrations.migrated_version(connection=link, schema=schema) == 0


@pytest.mark.parametrize("own", (True, False), ids=("a dsn", "a connection"))
async def test_a_cancel_ends_soon_though_the_network_is_silent(
    dsn: str,
    migrated: str,
    link: Link,
    monkeypatch: pytest.MonkeyPatch,
    *,
    own: bool,
) -> None:
    for module in (connections, session):
        monkeypatch.setattr(module, "CLEANUP_SECONDS", 0.2)
    parts = urlsplit(dsn)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        pytest.skip("the proxy is for a server on this machine")
    async with Proxy(lambda: parts.port or 5432) as proxy, link.transaction():
        user, at, _ = parts.netloc.rpartition("@")
        through = parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()
        given: dict[str, Any] = {"dsn": through}
        if not own:
            given = {"connection": await asyncpg.connect(through, statement_cache_size=0)}
        await link.execute(f"LOCK {migrated}.workflow_instances")
        down = asyncio.create_task(migrations.down(schema=migrated, version=0, **given))
        async with asyncio.timeout(WAIT_SECONDS):
            await until(link, f"{WAITING} = '{migrated}.workflow_instances'::regclass")
            proxy.lose()
            down.cancel()
            with pytest.raises(asyncio.CancelledError):
                await down
    async with asyncio.timeout(WAIT_SECONDS):
        while await advisory_locks(link):  # the server sees the connection end
            await asyncio.sleep(0.01)


async def test_a_connection_of_a_pool_can_be_used(
    pool: asyncpg.Pool[asyncpg.Record], schema: str
) -> None:
    async with pool.acquire() as connection:
        await migrations.up(connection=connection, schema=schema)
        assert (
            await migrations.migrated_version(connection=connection, schema=schema)
            == migrations.LATEST
        )


async def test_a_pool_for_a_connection_says_what_to_give(
    pool: asyncpg.Pool[asyncpg.Record], schema: str
) -> None:
    given: Any = {"connection": pool, "schema": schema}
    calls: tuple[Callable[..., Awaitable[object]], ...] = (
        migrations.up,
        migrations.plan,
        migrations.status,
        migrations.migrated_version,
        partial(migrations.down, version=0),
    )
    for call in calls:
        with pytest.raises(InvalidTypeError, match=r"^connection is .*pool\.acquire\(\)"):
            await call(**given)


async def test_a_dsn_and_a_connection_together_are_refused(link: Link, dsn: str) -> None:
    with pytest.raises(InvalidValueError, match="not both"):
        await migrations.up(dsn, connection=link)


async def test_an_unreachable_server_is_an_error_without_the_password() -> None:
    with pytest.raises(UnavailableError) as caught:
        await migrations.up("postgresql://user:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


async def test_a_role_without_create_gets_the_servers_reason(database: str, link: Link) -> None:
    await link.execute("CREATE SCHEMA theirs")
    await link.execute("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA theirs TO reader")
    try:
        await link.execute("SET ROLE reader")
        with pytest.raises(DatabaseError, match="permission denied for schema theirs"):
            await migrations.up(connection=link, schema="theirs")
    finally:
        await link.execute("RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")
