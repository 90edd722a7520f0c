"""Pools of our own, and pools of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.starting import Start

from typing import Any

import pytest

from hephaestus_pg import (
    UnavailableError,
)
from hephaestus_pg.driver import pool
from tests.support.lag import within

pytestmark = pytest.mark.quick


async def test_a_closed_pool_is_an_error_at_once(pool: Any, start: Start) -> None:
    async with start(pool=pool) as storage:
        await pool.close()
        async with within(2):
            with pytest.raises(UnavailableError, match="the pool is closed") as caught:
                await storage.get("x")
            with pytest.raises(UnavailableError, match="the pool is closed"):
                async with storage.transaction():
                    pass
        assert not caught.value.retryable


async def test_on_a_citus_database_the_driver_looks_at_types_without_its_filter(
    start: Start,
) -> None:
    name = "citus.override_table_visibility"
    async with start() as storage, storage.transaction() as transaction:
        assert await transaction.connection.fetchval(f"SHOW {name}") == "off"
    theirs = {"server_settings": {name: "on"}}
    async with start(**theirs) as storage, storage.transaction() as transaction:
        assert await transaction.connection.fetchval(f"SHOW {name}") == "on"


async def test_a_server_without_client_checks_is_not_asked_for_them(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CHECK_INTERVAL", "such as Windows refuses")
    async with (
        start() as storage,
        storage.transaction() as transaction,
    ):
        shown = transaction.connection
        assert await shown.fetchval("SHOW client_connection_check_interval") == "0"
        assert await shown.fetchval("SHOW statement_timeout") == "27001ms"
