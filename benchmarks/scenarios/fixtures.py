"""Measures what a storage for each test costs a suite, beside what one would write oneself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.load import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BASE = "truncate"

BODIES = ("nothing", "a put and a get")

_WITHOUT = "@pytest.fixture\ndef storage():\n    return None\n"

_OURS = "@pytest.fixture\ndef storage(hephaestus_storage):\n    return hephaestus_storage\n"

_ON_ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
"""

_TRUNCATE = """
@pytest.fixture
async def storage(hephaestus_server):
    async with AsyncStorage.start(hephaestus_server.dsn, references=Names()) as storage:
        yield storage
        async with storage.transaction() as transaction:
            await transaction.connection.execute("TRUNCATE workflow_instances, workflow_runners")
"""

_TEMPLATE = """
numbers = itertools.count()

@pytest.fixture(scope="session")
def admin(hephaestus_server):
    with psycopg.connect(hephaestus_server.dsn, dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE migrated")
        asyncio.run(migrations.up(dsn_of(hephaestus_server, "migrated")))
        yield admin

def dsn_of(server, database):
    return urlsplit(server.dsn)._replace(path=f"/{database}").geturl()

@pytest.fixture
async def storage(hephaestus_server, admin):
    name = f"copy_{next(numbers)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    dsn = dsn_of(hephaestus_server, name)
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        yield storage
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
"""

CONTENDERS = {
    "hephaestus_storage": _OURS,
    "hephaestus_storage, anyio": _ON_ANYIO + _OURS,
    BASE: _TRUNCATE,
    "create database from template": _TEMPLATE,
}
"""The fixture ``storage`` of each suite. All run on the server that the plug-in starts."""

_SUITE = """
import asyncio
import itertools
from urllib.parse import urlsplit

import psycopg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, migrations

@pytest.fixture(scope="session")
def hephaestus_options():
    return {{"references": Names()}}

{fixture}

@pytest.mark.parametrize("turn", range({tests}))
async def test_nothing(storage, turn):
    pass

@pytest.mark.parametrize("turn", range({tests}))
async def test_a_put_and_a_get(storage, turn):
    if storage is not None:
        await storage.put(Instance.new("Order", {{"amount": 99}}, id="order::1"))
        await storage.get("order::1")
"""

# Runs in the suites: what pytest measures of each test, in the process that all report to.
_CONFTEST = """
import json
from collections import defaultdict
from pathlib import Path

taken = defaultdict(float)

def pytest_runtest_logreport(report):
    assert report.passed
    taken[report.nodeid.partition("::")[2]] += report.duration

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        Path("taken.json").write_text(json.dumps(taken))
"""


def fixtures(*, tests: int, processes: Sequence[int], rounds: int) -> Iterator[dict[str, Any]]:
    """A record for each round, number of processes, body of a test and contender, in turns.

    Milliseconds are what a test takes beyond those of one that does nothing, with no fixture.
    """
    for round_number in range(rounds):
        for workers in processes:
            without = percentile(_taken(_WITHOUT, tests, workers)[BODIES[0]], 0.5)
            for contender, fixture in CONTENDERS.items():
                for body, taken in _taken(fixture, tests, workers).items():
                    p50, p99 = (percentile(taken, part) - without for part in (0.5, 0.99))
                    yield {
                        "round": round_number,
                        "processes": workers,
                        "body": body,
                        "contender": contender,
                        "tests": tests,
                        "without": without,
                        "p50": p50,
                        "p99": p99,
                        "throughput": 1000 / p50,
                    }


def _taken(fixture: str, tests: int, workers: int) -> dict[str, list[float]]:
    """Runs a suite: the milliseconds of its tests in order, by their body.

    The first of each process is left out, which starts the server.
    """
    anyio = fixture.startswith(_ON_ANYIO)
    plugins = ("anyio.pytest_plugin" if anyio else "pytest_asyncio.plugin", "xdist.plugin")
    options = [f"-p{each}" for each in (*plugins, "hephaestus_pg.testing.plugin")]
    if not anyio:
        options += ["-oasyncio_mode=auto", "-oasyncio_default_fixture_loop_scope=function"]
    if workers > 1:
        options += ["-n", str(workers)]
    with TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        Path(folder, "conftest.py").write_text(_CONFTEST, encoding="utf-8")
        suite = _SUITE.format(fixture=fixture, tests=tests)
        Path(folder, "test_suite.py").write_text(suite, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", *options],
            cwd=folder,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        taken = json.loads(Path(folder, "taken.json").read_text(encoding="utf-8"))
    return {body: _ordered(taken, f"test_{body.replace(' ', '_')}[", workers) for body in BODIES}


def _ordered(taken: dict[str, float], name: str, workers: int) -> list[float]:
    chosen = sorted(1000 * seconds for test, seconds in taken.items() if test.startswith(name))
    return chosen[:-workers]


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAESTUS")}
    # Other plug-ins that happen to be installed have no part in it.
    return own | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
