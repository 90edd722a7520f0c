from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    MigrationError,
    OperationTimeoutError,
    SchemaOutdatedError,
    UnavailableError,
    migrations,
)
from hephaestus_pg.cli import storages
from hephaestus_pg.cli.storages import connected, schemas, server_time, started
from tests.support.proxied import through

if TYPE_CHECKING:
    from tests.chaos.proxy import Proxy
    from tests.support.databases import Owner

pytestmark = pytest.mark.quick


async def test_storages_share_one_connection(dsn: str, migrated: str) -> None:
    async with connected(dsn) as pool:
        for _ in range(2):
            async with started(pool, migrated) as storage:
                assert await storage.count() == 0
                now = await server_time(storage)
                assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
        assert pool.get_size() == 1
    assert pool.is_closing()


async def test_a_schema_without_a_table_and_one_that_is_too_old(dsn: str, schema: str) -> None:
    async with connected(dsn) as pool:
        with pytest.raises(MigrationError, match="look at --schema and --dsn"):
            async with started(pool, schema):
                pass
        await migrations.up(dsn, schema=schema, version=2)
        with pytest.raises(SchemaOutdatedError, match="at version 2"):
            async with started(pool, schema):
                pass


async def test_a_connection_that_does_not_close_is_ended(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "_CLOSE_SECONDS", 0.01)
    async with connected(dsn) as pool:
        held: Any = await pool.acquire()
        connection = held._con
    assert connection.is_closed()


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(UnavailableError):
        async with connected("postgresql://127.0.0.1:1/none"):
            pass


async def test_a_server_that_falls_silent_is_given_up(
    dsn: str, migrated: str, proxy: Proxy
) -> None:
    async with connected(through(dsn, proxy.port)) as pool:
        assert migrated in await schemas(pool)
        proxy.lose()
        with pytest.raises(OperationTimeoutError):
            await schemas(pool, timeout=0.1)
        proxy.heal()
        assert migrated in await schemas(pool)


async def test_schemas_are_those_with_a_table_and_say_whether_the_role_may_read_it(
    dsn: str, migrated: str, owner: Owner
) -> None:
    role = f"role_{migrated}"
    async with connected(dsn) as pool:
        assert (await schemas(pool))[migrated]
        owner.execute(f"CREATE ROLE {role}")
        try:
            await pool.execute(f"SET ROLE {role}")
            assert not (await schemas(pool))[migrated]
        finally:
            owner.execute(f"DROP ROLE {role}")
