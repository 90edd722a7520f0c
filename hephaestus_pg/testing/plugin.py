"""The pytest plug-in: fixtures for tests of what uses ``hephaestus_pg``.

::

    async def test_an_order_is_charged(hephaestus_storage):
        await place(hephaestus_storage, "order::1")
        assert await hephaestus_storage.count(status="pending") == 1

Nothing is started or opened before a test asks for a fixture.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from unittest import TestCase

import pytest

from hephaestus_pg.testing.clock import Clock
from hephaestus_pg.testing.faults import Faults

try:
    import pytest_asyncio
except ImportError:
    pytest_asyncio = None  # type: ignore[assignment] # a module, where it is installed
else:
    # An older one knows no scopes of loops, and what fails here ends every run of pytest.
    if tuple(map(int, pytest_asyncio.__version__.split(".")[:2])) < (0, 26):
        pytest_asyncio = None  # type: ignore[assignment] # as above

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.testing.database import Database

SECTION = "hephaestus_pg: workflow_instances"
"""The heading in a failed test's report over what was in the table."""

_LOOP_SCOPES = ("function", "class", "module", "package", "session")

_NOT_ASYNCHRONOUS = (
    "hephaestus_storage belongs to an event loop: write `async def {name}`. A test that is not "
    "asynchronous asks for hephaestus_database, whose .dsn an application can be given"
)
_UNITTEST = (
    "hephaestus_storage belongs to an event loop, and unittest makes its own for {name}: ask for "
    "hephaestus_database in a fixture with autouse=True, and start a storage on its .dsn in "
    "asyncSetUp"
)
_NO_PLUGIN = (
    "nobody runs {name} in an event loop: pip install 'pytest-asyncio>=0.26', and mark the test "
    "with @pytest.mark.asyncio; or mark it with @pytest.mark.anyio"
)
_TWO_PLUGINS = (
    "pytest-asyncio runs {name}, but anyio's plug-in its fixtures, in another event loop: set "
    "asyncio_mode = strict, or take the mark `anyio` and the fixture anyio_backend away"
)
_NOT_ASYNCIO = (
    "hephaestus_storage needs asyncio, and this test runs on {backend}. Write in its module, or in "
    'conftest.py:\n\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"'
)

_NO_OPTIONS = (
    "hephaestus_options gave {given!r}: have it return a dict of what AsyncStorage.start(…) takes, "
    'such as {{"references": Names()}}'
)

_CONFORMANCE = "hephaestus_pg.testing.conformance"

_database = pytest.StashKey["Database"]()
_failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--hephaestus-dsn``."""
    parser.getgroup("hephaestus_pg").addoption(
        "--hephaestus-dsn",
        metavar="DSN",
        help="the PostgreSQL on which hephaestus_pg's fixtures create a database for the tests; "
        "default: HEPHAESTUS_PG_TEST_DSN, else the embedded server, else a container",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test what was in the table."""
    report = yield
    database = item.stash.get(_database, None)
    if database is not None and report.failed and report.when != "teardown":
        item.stash[_failed] = True
        try:
            shown = database.last_instances()
        except Exception as error:  # noqa: BLE001 - the test's own failure is what counts
            shown = f"it could not be read: {error}"
        report.sections.append((SECTION, shown))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class) -> None:
    """Has the conformance suite report what holds, from when a module of tests has imported it."""
    manager = collector.config.pluginmanager
    if _CONFORMANCE in sys.modules and not manager.has_plugin(_CONFORMANCE):
        from hephaestus_pg.testing.conformance import report

        manager.register(report, _CONFORMANCE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes that report, which with pytest-xdist has come from other processes."""
    if any(
        hasattr(each, "hephaestus_conformance")
        for some in terminalreporter.stats.values()
        for each in some
    ):
        from hephaestus_pg.testing.conformance import report

        report.write(terminalreporter)


@pytest.fixture(scope="session")
def hephaestus_server(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database for the tests of this process, migrated; ``.dsn`` leads to it.

    It is created on the server of ``--hephaestus-dsn`` or ``HEPHAESTUS_PG_TEST_DSN``, else on an
    embedded one, else on one in a container, and dropped in the end. A fixture that needs a storage
    for longer than a test, or an application, starts one on the DSN.
    """
    from hephaestus_pg.errors import HephaestusError
    from hephaestus_pg.testing.database import Database
    from hephaestus_pg.testing.server import running

    given = request.config.getoption("--hephaestus-dsn")
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running(given or os.environ.get("HEPHAESTUS_PG_TEST_DSN")))
            database = stack.enter_context(Database.created(server))
        except HephaestusError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield database


@pytest.fixture
def hephaestus_database(
    request: pytest.FixtureRequest, hephaestus_server: Database
) -> Iterator[Database]:
    """The database, empty, and emptied again after the test; ``.dsn`` leads to it."""
    has_clock = "hephaestus_clock" in request.fixturenames
    with ExitStack() as stack:
        if has_clock:  # before sessions begin, and back to the machine's time
            hephaestus_server.install_clock()
            stack.callback(hephaestus_server.install_clock)
        hephaestus_server.empty()
        request.node.stash[_database] = hephaestus_server
        stack.callback(hephaestus_server.empty)
        yield hephaestus_server


@pytest.fixture
def hephaestus_options() -> dict[str, Any]:
    """Options for ``AsyncStorage.start``, none; a fixture of yours of this name gives others."""
    return {}


@pytest.fixture
def hephaestus_storage(
    request: pytest.FixtureRequest,
    hephaestus_database: Database,
    hephaestus_options: dict[str, Any],
) -> AsyncStorage:
    """A storage for this test alone, on an empty table, started under the name ``default``."""
    # Both are named here, so that pytest sees where a suite gives one of them parameters.
    del hephaestus_database
    if not isinstance(hephaestus_options, Mapping):
        pytest.fail(_NO_OPTIONS.format(given=hephaestus_options), pytrace=False)
    storage: AsyncStorage = request.getfixturevalue(_storage_fixture(request))
    return storage


@pytest.fixture
def hephaestus_clock(hephaestus_storage: AsyncStorage) -> Clock:
    """The clock of leases, due times and backoff on the storage's server, for tests to move."""
    return Clock(hephaestus_storage)


@pytest.fixture
def hephaestus_faults(
    request: pytest.FixtureRequest, hephaestus_storage: AsyncStorage
) -> Iterator[Faults]:
    """Faults of the storage's statements, for tests to plan; one that did not happen is an error.

    ::

        hephaestus_faults.lose_answer("update")
    """
    stash = request.node.stash
    stash[_failed] = False  # it may have failed before, where it is tried again
    with Faults(hephaestus_storage) as faults:
        yield faults
        if stash[_failed]:
            faults.clear()  # the test's own failure says more


def _storage_fixture(request: pytest.FixtureRequest) -> str:
    """Names the fixture that starts a storage in the event loop in which the test will run."""
    item = request.node
    name = getattr(item, "originalname", item.name)
    if issubclass(getattr(item, "cls", None) or object, TestCase):
        pytest.fail(_UNITTEST.format(name=name), pytrace=False)
    is_anyio = "anyio_backend" in request.fixturenames
    if pytest_asyncio is not None and pytest_asyncio.is_async_test(item):
        if is_anyio:
            pytest.fail(_TWO_PLUGINS.format(name=name), pytrace=False)
        return f"_hephaestus_storage_{_loop_scope(item)}"
    if not _is_asynchronous(getattr(item, "obj", None)):
        pytest.fail(_NOT_ASYNCHRONOUS.format(name=name), pytrace=False)
    if not is_anyio:
        pytest.fail(_NO_PLUGIN.format(name=name), pytrace=False)
    backend = request.getfixturevalue("anyio_backend_name")
    if backend != "asyncio":
        pytest.fail(_NOT_ASYNCIO.format(backend=backend), pytrace=False)
    return "_hephaestus_storage_anyio"


def _loop_scope(item: pytest.Item) -> str:
    """The scope of the event loop in which pytest-asyncio runs a test."""
    marker = item.get_closest_marker("asyncio")
    given = {} if marker is None else marker.kwargs
    default = item.config.getini("asyncio_default_test_loop_scope")
    return str(given.get("loop_scope") or given.get("scope") or default)


def _is_asynchronous(test: Any) -> bool:
    """Tells whether a function is ``async def``, or the one that Hypothesis gives its examples."""
    given = getattr(test, "hypothesis", None)
    return inspect.iscoroutinefunction(test if given is None else given.inner_test)


@pytest.fixture
async def _hephaestus_storage_anyio(
    hephaestus_database: Database, hephaestus_options: dict[str, Any]
) -> AsyncIterator[AsyncStorage]:
    async with hephaestus_database.storage(**hephaestus_options) as storage:
        yield storage


def _define_storage_fixture(loop_scope: Any) -> None:
    """Defines the fixture that pytest-asyncio runs in the loop of that scope."""
    name = f"_hephaestus_storage_{loop_scope}"

    @pytest_asyncio.fixture(loop_scope=loop_scope, name=name)
    async def started(
        hephaestus_database: Database, hephaestus_options: dict[str, Any]
    ) -> AsyncIterator[AsyncStorage]:
        async with hephaestus_database.storage(**hephaestus_options) as storage:
            yield storage

    globals()[name] = started


if pytest_asyncio is not None:
    for _scope in _LOOP_SCOPES:
        _define_storage_fixture(_scope)
