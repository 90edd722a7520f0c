"""Errors are translated without the content of rows, and tell a standby from a setting."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    MigrationError,
    Names,
    RejectedError,
    Status,
    UnavailableError,
    migrations,
)
from hephaestus_pg.driver import connector, errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.starting import Start


def test_a_full_server_does_not_reset_the_pool() -> None:
    full = errors.translate(asyncpg.TooManyConnectionsError("full"))
    full.__cause__ = asyncpg.TooManyConnectionsError("full")
    assert not errors.should_reset_pool(full)
    assert not errors.should_reset_pool(asyncpg.TooManyConnectionsError("full"))
    assert errors.should_reset_pool(asyncpg.CannotConnectNowError("starting up"))


@pytest.mark.parametrize("batching", (True, False))
async def test_no_message_log_or_traceback_shows_a_state(
    start: Start, migrated: str, pool: Any, batching: bool, caplog: pytest.LogCaptureFixture
) -> None:
    held = uuid4().hex[:12]  # the server quotes only the beginning of a state
    failed = replace(Instance.new("W", {"s": held}, id="x"), status=Status.FAILED)
    await pool.execute(f"ALTER TABLE {migrated}.workflow_instances ADD CHECK (status <> 'failed')")
    async with start(batching=batching) as storage:

        async def in_transaction() -> None:
            async with storage.transaction() as transaction:
                await transaction.put(failed)

        for write in (storage.put(failed), storage.put_many([failed]), in_transaction()):
            with pytest.raises(RejectedError, match="check constraint") as caught:
                await write
            assert held not in "".join(traceback.format_exception(caught.value))
    assert held not in caplog.text


async def test_an_argument_that_cannot_be_encoded_is_not_shown(pool: Any) -> None:
    held = f"({uuid4().hex} (x"
    with (
        pytest.raises(RejectedError, match=r"argument \$1 \('str' object") as caught,
        errors.translated_errors(),
    ):
        await pool.fetchval("SELECT $1::integer", held)
    assert held[1:9] not in "".join(traceback.format_exception(caught.value))


async def test_put_many_survives_a_change_of_a_columns_type(
    start: Start, migrated: str, pool: Any
) -> None:
    async with start(max_size=1) as storage:
        [first] = await storage.put_many([Instance("x", "W")])
        await storage.delete_many(["y"])
        await pool.execute(
            f"ALTER TABLE {migrated}.workflow_instances ALTER COLUMN workflow_version TYPE bigint,"
            " ALTER COLUMN id TYPE text"
        )

        [stored] = await storage.put_many([Instance("x", "W")])
        assert stored.revision == (first.revision or 0) + 1
        assert await storage.delete_many(["x"]) == {"x"}


class TestReadOnly:
    """A primary whose sessions may only read is no standby: trying again does not help."""

    @pytest.fixture
    async def admin(self, database: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(
            database, server_settings={"default_transaction_read_only": "off"}
        )
        yield connection
        await connection.close()

    @pytest.fixture
    async def where(
        self,
        request: pytest.FixtureRequest,
        database: str,
        admin: asyncpg.Connection[Any],
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """A DSN, and options, with which no session may write."""
        await migrations.up(database)
        setting = "default_transaction_read_only"
        url = urlsplit(database)
        role = f"reader_{uuid4().hex[:8]}"
        options: dict[str, Any] = {}
        given = database
        match request.param:
            case "database":
                await admin.execute(f"ALTER DATABASE {url.path[1:]} SET {setting} = on")
            case "role":
                await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'x'")
                await admin.execute(f"ALTER ROLE {role} SET {setting} = on")
                given = url._replace(netloc=f"{role}:x@{url.netloc.rpartition('@')[2]}").geturl()
            case "query":
                given = f"{database}?{setting}=on"
            case "options":
                given = f"{database}?options=-c%20{setting}%3Don"
            case "server_settings":
                options = {"server_settings": {setting: "on"}}
            case "several hosts":
                own = url.netloc.rpartition("@")[2]
                given = f"{database.replace(own, f'127.0.0.1:1,{own}')}?{setting}=on"
        yield given, options
        if request.param == "role":
            await admin.execute(f"DROP ROLE {role}")

    @pytest.mark.parametrize(
        "where",
        ("database", "role", "query", "options", "server_settings", "several hosts"),
        indirect=True,
    )
    async def test_a_write_fails_at_once_and_reads_go_on(
        self, where: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
    ) -> None:
        given, options = where
        x = Instance("x", "W")
        caplog.set_level(logging.DEBUG, "hephaestus_pg")
        async with AsyncStorage.start(given, references=Names(), **options) as storage:

            async def in_transaction() -> None:
                async with storage.transaction() as transaction:
                    await transaction.put(x)

            writes: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: storage.put(x),
                lambda: storage.insert(x),
                lambda: storage.update(replace(x, revision=1)),
                lambda: storage.delete("x"),
                lambda: storage.put_many([x, replace(x, id="y")]),
                lambda: storage.delete_many(["x"]),
                lambda: storage.prune(finished_before=datetime.now(UTC)),
                in_transaction,
            )
            for write in writes:
                with pytest.raises(RejectedError, match="default_transaction_read_only") as caught:
                    await write()
                assert not caught.value.retryable
                assert caught.value.applied == "no"
            assert await storage.count() == 0
        assert "tried again" not in caplog.text

    async def test_a_migration_says_so_too(self, database: str) -> None:
        with pytest.raises(MigrationError, match="default_transaction_read_only"):
            await migrations.up(f"{database}?default_transaction_read_only=on")

    async def test_an_unmet_target_session_attrs_names_the_kind_of_server(
        self, database: str
    ) -> None:
        query = "default_transaction_read_only=on&target_session_attrs=read-write"
        with pytest.raises(UnavailableError, match="is not read-write.*a standby, or a primary"):
            await connector.connect(f"{database}?{query}")
        with pytest.raises(UnavailableError, match="is not standby.*it is a primary"):
            await connector.connect(f"{database}?target_session_attrs=standby")
