"""The server that the tests run against, and a place of its own on it for each test."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from hephaestus_pg import migrations, registry
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.execution import pool_runner
from hephaestus_pg.watch import notifier, subscription
from tests.support import citus
from tests.support.databases import SERVER, Owner, new_database
from tests.support.proxied import port_here
from tests.support.server import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Generator, Iterator

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.execution.starting import Starting
    from tests.chaos.proxy import Proxy
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

# How long an example takes is the machine's affair.
hypothesis_settings.register_profile(
    "any machine",
    hypothesis_settings(),
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("any machine")
# pytest tests/system/test_exactness.py --hypothesis-profile long --timeout 0
hypothesis_settings.register_profile("long", max_examples=100_000)
# Where it was searched before, with another Python and another server.
hypothesis_settings.register_profile("few", max_examples=10)


def _is_of_this_test(record: logging.LogRecord) -> bool:
    """Not so what asyncpg says of a connection that was given up in the moment of its making.

    It says so when it is collected, which may be in a test that looks at its log.
    """
    return "unexpected connection_lost() call" not in record.getMessage()


logging.getLogger("asyncio").addFilter(_is_of_this_test)

_header = pytest.StashKey[list[str]]()
_failed = pytest.StashKey[bool]()

# A failed test may leave statements under way on the server, and the locks that they hold.
_END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[SERVER] = config.workerinput["dsn"]
        return
    if config.option.collectonly or config.option.help:
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    found = stack.enter_context(server())
    config.stash[SERVER] = found.dsn
    with psycopg.connect(found.dsn) as connection:
        version = connection.info.parameter_status("server_version")
    config.stash[_header] = [f"PostgreSQL {version}: {found.about}"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker of pytest-xdist the one server."""
    node.workerinput["dsn"] = node.config.stash[SERVER]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash.get(_header, [])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if citus.KIND:
        citus.skip_what_cannot_apply(items)
    for item in items:
        if pytest_asyncio.is_async_test(item):
            # The first to be set up is the last to look, and the last the first to act.
            item.fixturenames.insert(0, "nothing_left")
            item.fixturenames.append("ended_if_failed")


def pytest_collection_finish() -> None:
    # What there is by now stays until the end; no collection need go through it again.
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(scope="session")
def dsn(pytestconfig: pytest.Config) -> Iterator[str]:
    """A database that the tests of this process share; each takes a schema of its own in it."""
    if citus.KIND:
        yield citus.coordinator()
        return
    with new_database(pytestconfig) as database:
        yield database


@pytest.fixture(scope="session")
def owner(dsn: str) -> Iterator[Owner]:
    with closing(Owner(dsn)) as owner:
        yield owner


@pytest.fixture
def database(pytestconfig: pytest.Config) -> Iterator[str]:
    """The DSN of a database for this test alone."""
    with new_database(pytestconfig) as database:
        yield database


@pytest.fixture
def schema(owner: Owner, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a schema for this test alone, in the shared database; empty."""
    name = f"schema_{uuid4().hex[:12]}"
    owner.execute(f"CREATE SCHEMA {name}")
    yield name
    if _failed in request.node.stash and not citus.KIND:  # a cluster may be others' too
        owner.execute(_END_OTHERS)
    citus.drop(owner, name)


@pytest.fixture
def migrated(owner: Owner, schema: str) -> str:
    """Like ``schema``, with all migrations applied."""
    from hephaestus_pg import migrations

    # As one script, which tests/migrations/test_scripts.py compares with the engine's steps: it
    # takes a fraction of their time, and most tests need it.
    owner.execute(migrations.sql("up", schema=schema))
    citus.distribute(owner, schema)
    return schema


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """A caller's own pool on the shared database."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A way to the server that may break."""
    from tests.chaos.proxy import Proxy

    port = port_here(dsn)
    async with Proxy(lambda: port) as proxy:
        yield proxy


@pytest.fixture
async def start(dsn: str, migrated: str) -> AsyncIterator[Start]:
    """Starts storages on a migrated schema for this test alone, and closes those left open.

    It takes what ``AsyncStorage.start`` does, and gives what that gives: to be awaited, or to be
    entered. Each storage has a name of its own, unless it is given one.
    """
    from hephaestus_pg import AsyncStorage, Names

    started: list[str] = []

    def start(given: str | None = None, **options: Any) -> Starting[AsyncStorage]:
        own = f"{migrated}_{len(started)}"
        options = {"name": own, "schema": migrated, "references": Names(), **options}
        if not options.keys() & {"pool", "share"}:
            options["dsn"] = dsn if given is None else given
        started.append(options["name"])
        return AsyncStorage.start(**options)

    yield start
    for name in started:
        if name in registry.names():
            await AsyncStorage.named(name).close()


@pytest.fixture
async def storage(start: Start, migrated: str) -> AsyncIterator[AsyncStorage]:
    """A storage on a migrated schema for this test alone, started under the schema's name."""
    async with start(name=migrated) as storage:
        yield storage


@pytest.fixture(params=(True, False), ids=("batching", "plain"))
async def small(request: pytest.FixtureRequest, start: Start, schema: str) -> AsyncStorage:
    """A storage of two connections, which the server knows by the schema's name."""
    return await start(
        batching=request.param,
        min_size=2,
        max_size=2,
        server_settings={"application_name": schema},
    )


@pytest.fixture
def faults_of() -> Iterator[FaultsOf]:
    """Gives the faults of a storage; none yet, and in the end none that did not happen."""
    from tests.support.faults import Faults

    with ExitStack() as stack:
        yield lambda storage: stack.enter_context(Faults(storage))


@pytest.fixture
def faults(storage: AsyncStorage, faults_of: FaultsOf) -> Faults:
    """The faults of the storage; see :func:`faults_of`."""
    return faults_of(storage)


@pytest.fixture
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves a task or a storage behind; every asynchronous test has it.

    One that has failed already does not fail twice. Neither leaves anything to the next.
    """
    yield
    failed = _failed in request.node.stash
    if not failed and (closing := _closing()):
        await asyncio.wait(closing, timeout=10)
    left = [*map(repr, asyncio.all_tasks() - {asyncio.current_task()}), *registry.names()]
    if left or failed:
        await _cancel_tasks()
        _forget_storages_and_connections()
    assert failed or left == []


@pytest.fixture
async def ended_if_failed(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """End the tasks of a failed test, before what they use ends."""
    before = asyncio.all_tasks()
    yield
    if _failed in request.node.stash:
        await _cancel_tasks(but=before)


def _closing() -> set[asyncio.Task[Any]]:
    """The tasks in which pools close connections: they end by themselves, and in bounded time."""
    return {
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "").endswith("Connection.close")
    }


async def _cancel_tasks(but: Collection[asyncio.Task[Any] | None] = ()) -> None:
    tasks = asyncio.all_tasks().difference(but, {asyncio.current_task()})
    for task in tasks:
        task.cancel()
    if tasks:
        ended, _ = await asyncio.wait(tasks, timeout=10)
        await asyncio.gather(*ended, return_exceptions=True)


def _forget_storages_and_connections() -> None:
    for name in registry.names():
        registry.unregister(name, registry.find(name, object))
    loop = asyncio.get_running_loop()
    for each in gc.get_objects():
        if (
            issubclass(type(each), asyncpg.Connection)
            and each._loop is loop
            and not each.is_closed()
        ):
            each.terminate()


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write asks who listens, so that who begins to listen need not look twice."""
    monkeypatch.setattr(pool_runner, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(notifier, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(subscription, "AGAIN_SECONDS", 3600.0)


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    """A server for this module alone, which it may stop, with all migrations."""
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with EmbeddedServer(settings={"fsync": "off"}, binaries=binaries) as server:
        asyncio.run(migrations.up(server.dsn))
        yield server
