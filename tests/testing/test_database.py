from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, SchemaOutdatedError, UnavailableError
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


@pytest.mark.parametrize(
    ("server", "leads_to"),
    (
        ("postgresql://u:p%40@h1:1,h2:2/db", "postgresql://u:p%40@h1:1,h2:2/new"),
        ("postgresql:///?host=/tmp&dbname=db", "postgresql:///new?host=%2Ftmp"),
        ("postgresql://h?database=db&sslmode=disable", "postgresql://h/new?sslmode=disable"),
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
