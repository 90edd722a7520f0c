from __future__ import annotations

import asyncio
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConflictError,
    Instance,
    MigrationError,
    Names,
    RejectedError,
    SchemaOutdatedError,
    UnavailableError,
    migrations,
)
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.testing import database
from hephaestus_pg.testing.database import Database, MigratedStorage, with_database
from hephaestus_pg.testing.server import Server
from tests.support.databases import SERVER, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def made(pytestconfig: pytest.Config) -> Iterator[Database]:
    with Database.created(Server(pytestconfig.stash[SERVER], "the tests'")) as made:
        yield made


async def test_it_is_emptied_inside_a_running_loop(made: Database) -> None:
    async with made.storage(references=Names()) as storage:
        await storage.put(Instance.new("Order", {}, id="order::1"))
        assert made.last_instances().startswith("order::1  Order  pending  ")

        made.empty()

        assert await storage.count() == 0
        assert made.last_instances() == "it is empty"


async def test_a_schema_that_a_test_has_migrated_is_emptied_and_shown_too(made: Database) -> None:
    await migrations.up(made.dsn, schema="acme")
    async with made.storage(schema="acme", references=Names()) as storage:
        await storage.put(Instance.new("Order", {}, id="order::1"))
        assert "  in schema acme\n" in made.last_instances()

        with pytest.raises(psycopg.OperationalError), psycopg.connect(made.dsn) as writer:
            writer.execute("DELETE FROM acme.workflow_instances")
            made.empty()

        assert await storage.count() == 0
        assert made.last_instances() == "it is empty"


async def test_sessions_that_write_nothing_outlive_emptying(made: Database) -> None:
    with psycopg.connect(made.dsn) as reader:
        reader.execute("SELECT count(*) FROM workflow_instances")

        made.empty()

        assert reader.execute("SELECT 1").fetchone() == (1,)


async def test_a_storage_with_options_of_its_own_place_is_checked(made: Database) -> None:
    async with made.storage() as storage:
        assert type(storage) is MigratedStorage
    with closing(Owner(made.dsn)) as owner:
        owner.execute("CREATE SCHEMA tenant_a")

    with pytest.raises(SchemaOutdatedError, match="tenant_a"):
        async with made.storage(schema="tenant_a"):
            pass


async def test_a_storage_may_have_another_name_than_the_applications(made: Database) -> None:
    async with (
        made.storage(name="test", references=Names()) as storage,
        AsyncStorage.start(made.dsn, references=Names()) as application,
    ):
        await application.put(Instance.new("Order", {}, id="order::1"))
        assert await storage.count() == 1


async def test_a_storage_may_use_a_pool_of_the_tests(made: Database) -> None:
    async with (
        asyncpg.create_pool(made.dsn, min_size=1, max_size=1) as pool,
        made.storage(pool=pool, references=Names()) as storage,
    ):
        await storage.put(Instance.new("Order", {}, id="order::1"))
        assert storage.process_stats().connections_idle <= 1


async def test_what_is_shown_names_owner_and_failed_attempts(made: Database) -> None:
    async with (
        made.storage(references=Names()) as storage,
        storage.runner(workflows=["Order"], name="worker-7") as runner,
    ):
        await runner.insert(Instance.new("Order", {}, id="order::1"))
        async with storage.transaction() as transaction:
            await transaction.connection.execute("UPDATE workflow_instances SET attempts = 2")

        assert "  2 failed attempts  owned by worker-7\n" in made.last_instances()


def test_a_table_that_refers_to_instances_is_for_its_owner_to_empty(made: Database) -> None:
    with closing(Owner(made.dsn)) as owner:
        owner.execute(
            "INSERT INTO workflow_instances (id, workflow, inserted_at, updated_at)"
            " VALUES ('order::1', 'Order', now(), now())"
        )
        owner.execute("CREATE TABLE invoices AS SELECT id FROM workflow_instances")
        owner.execute("ALTER TABLE invoices ADD FOREIGN KEY (id) REFERENCES workflow_instances")

        with pytest.raises(RejectedError, match="invoices"):
            made.empty()
        owner.execute("TRUNCATE invoices")
        made.empty()


def test_a_writer_that_cannot_be_ended_is_an_error_in_the_end(
    made: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_TRIES", 0)
    with psycopg.connect(made.dsn) as writer:
        writer.execute("DELETE FROM workflow_instances")

        with pytest.raises(ConflictError):
            made.empty()


def test_a_database_that_could_not_be_migrated_is_not_left_behind(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrating: list[str] = []

    async def fail(dsn: str, **_: object) -> None:
        migrating.append(dsn)
        raise MigrationError("public", "no")

    monkeypatch.setattr(migrations, "up", fail)

    with (
        pytest.raises(MigrationError),
        Database.created(Server(pytestconfig.stash[SERVER], "the tests'")),
    ):
        pass
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(*migrating)


def test_it_can_hold_every_text_where_the_servers_own_cannot() -> None:
    """As after Debian's installation without a locale."""
    with EmbeddedServer(settings={"fsync": "off"}) as server:
        with closing(Owner(server.dsn)) as owner:
            owner.execute("ALTER DATABASE template1 IS_TEMPLATE false")
            owner.execute("DROP DATABASE template1")
            owner.execute("CREATE DATABASE template1 ENCODING 'SQL_ASCII' TEMPLATE template0")

        with (
            Database.created(Server(server.dsn, "its own")) as made,
            psycopg.connect(made.dsn) as connection,
        ):
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


async def interrupted() -> NoReturn:
    """As by Ctrl-C, or by pytest-timeout, while the event loop waits for the server."""

    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    asyncio.get_running_loop().call_soon(interrupt)
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("step", ("CREATE DATABASE", "CREATE TABLE"))
def test_a_database_whose_making_is_interrupted_is_not_left_behind(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    names: list[str] = []
    execute = asyncpg.Connection.execute

    async def execute_and_interrupt(
        connection: asyncpg.Connection[Any], text: str, *arguments: Any, **options: Any
    ) -> str:
        names.extend(re.findall(r"^CREATE DATABASE (\w+)", text))
        done = await execute(connection, text, *arguments, **options)
        if step in text:
            await interrupted()
        return done

    monkeypatch.setattr(asyncpg.Connection, "execute", execute_and_interrupt)
    server = pytestconfig.stash[SERVER]

    with pytest.raises(KeyboardInterrupt), Database.created(Server(server, "the tests'")):
        pass
    [name] = names
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(with_database(server, name))


def test_emptying_that_is_interrupted_spoils_no_later_one(
    made: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(made, "_emptied", interrupted)
        made.empty()

    made.empty()
    assert made.last_instances() == "it is empty"


@pytest.mark.parametrize(
    ("server", "leads_to"),
    (
        ("postgresql://u:p%40@h1:1,h2:2/db", "postgresql://u:p%40@h1:1,h2:2/new"),
        ("postgresql:///?host=/tmp&dbname=db", "postgresql:///new?host=%2Ftmp"),
        ("postgresql://h?database=db&sslmode=disable", "postgresql://h/new?sslmode=disable"),
        # Others than asyncpg read a plus as what it is.
        ("postgresql://h/db?options=-c%20a.b%3D1", "postgresql://h/new?options=-c%20a.b%3D1"),
    ),
)
def test_its_dsn_is_the_servers_with_another_database(server: str, leads_to: str) -> None:
    assert with_database(server, "new") == leads_to


def test_a_server_that_does_not_answer_is_an_error_at_creation() -> None:
    with (
        pytest.raises(UnavailableError),
        Database.created(Server("postgresql://nobody@127.0.0.1:1/nowhere", "")),
    ):
        pass
