from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Names, migrations
from hephaestus_pg.testing import clock
from tests.support.databases import SERVER, new_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pytest import MonkeyPatch, Pytester, RunResult  # noqa: PT013 - only their names are needed


@pytest.fixture(scope="module")
def moved_dsn(pytestconfig: pytest.Config) -> Iterator[str]:
    """A database whose clock is installed, with a migrated schema ``public``."""

    async def install(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(migrations.sql("up", schema="public"))
        await clock.install(connection)
        await connection.close()

    with new_database(pytestconfig) as dsn:
        asyncio.run(install(dsn))
        yield dsn


@pytest.fixture
async def moved(moved_dsn: str) -> AsyncIterator[AsyncStorage]:
    """A storage whose clock can be moved, with nothing in it."""
    async with start_moved(moved_dsn) as storage:
        async with storage.transaction() as transaction:
            await transaction.connection.execute(
                "TRUNCATE public.workflow_instances, public.workflow_runners"
            )
        await clock.Clock(storage).reset()
        yield storage


def start_moved(dsn: str, **options: Any) -> Any:
    return AsyncStorage.start(
        dsn, **{"name": f"moved_{uuid4().hex[:8]}", "references": Names(), **options}
    )


class RunSuite(Protocol):
    def __call__(
        self,
        tests: str,
        *arguments: str,
        settings: str = "",
        apart: bool = False,
        beginning: str = ...,
    ) -> RunResult: ...


BEGINNING = """
import asyncio
import pytest
from hephaestus_pg import AsyncStorage, Instance, Names

@pytest.fixture
def hephaestus_options(hephaestus_options):
    return {**hephaestus_options, "references": Names()}

def order(number=1):
    return Instance.new("Order", {"amount": 99}, id=f"order::{number}")
"""

# The plug-in is named, since it is an entry point only where the package is installed. LangGraph's
# would warn on Python 3.14.
PLUGIN = ("-pno:langsmith_plugin", "-pno:hephaestus_pg", "-p", "hephaestus_pg.testing.plugin")


@pytest.fixture
def run_suite(
    pytester: Pytester, monkeypatch: MonkeyPatch, pytestconfig: pytest.Config
) -> RunSuite:
    """Runs a user's suite on the server of these tests, with all warnings as errors."""
    monkeypatch.setenv("HEPHAESTUS_PG_TEST_DSN", pytestconfig.stash[SERVER])

    def run(
        tests: str,
        *arguments: str,
        settings: str = "",
        apart: bool = False,
        beginning: str = BEGINNING,
    ) -> RunResult:
        pytester.makepyfile(beginning + tests)
        pytester.makeini(
            "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
            + settings
        )
        given = (*PLUGIN, "-p", "no:cacheprovider", *arguments)
        if apart:
            # The others that are installed here take most of the time of a process.
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            return pytester.runpytest_subprocess("-p", "pytest_asyncio.plugin", *given)
        return pytester.runpytest_inprocess(*given)

    return run
