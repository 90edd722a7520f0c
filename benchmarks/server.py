"""The server that everything runs on, and its own counters."""

from __future__ import annotations

import platform
import subprocess
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psutil
import psycopg

from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "max_connections": "300",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}
"""A commit is on the disk, as in production; memory as on a small server."""

LIBRARIES = (
    "hephaestus_pg",
    "asyncpg",
    "orjson",
    "SQLAlchemy",
    "psycopg",
    "psycopg-pool",
    "langgraph-checkpoint-postgres",
    "pgqueuer",
    "procrastinate",
    "dbos",
)


class Server:
    """An embedded server, a database for each who asks, and its counters."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = {**SETTINGS, **settings}
        self._server = EmbeddedServer(settings=self._settings)

    def __enter__(self) -> Self:
        self._server.start()
        self._control = psycopg.connect(self._server.dsn, autocommit=True)
        self._control.execute("CREATE EXTENSION pg_stat_statements")
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._server.close()

    @property
    def programs(self) -> Path:
        """The folder with pgbench."""
        return self._server.binaries

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The DSN of a new database, which ends with the block."""
        name = name.replace("-", "_")
        self._control.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield urlsplit(self._server.dsn)._replace(path=f"/{name}").geturl()
        finally:
            self._control.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    @contextmanager
    def counted(self) -> Iterator[dict[str, float]]:
        """Counts the block's cost to the server: CPU seconds, and bytes of WAL."""
        costs: dict[str, float] = {}
        cpu, wal = self._cpu(), self._wal()
        yield costs
        costs |= {"server_cpu": self._cpu() - cpu, "wal": self._wal() - wal}

    def count_statements(self, dsn: str) -> None:
        """Count the statements of this database's sessions that begin from now on."""
        name = urlsplit(dsn).path[1:]
        self._control.execute(
            f"ALTER DATABASE {name} SET pg_stat_statements.track = 'top'".encode()
        )

    def statements(self, dsn: str) -> int:
        """How many statements of that database were counted, beginnings and ends included."""
        row = self._control.execute(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements JOIN pg_database"
            " ON oid = dbid WHERE datname = %s",
            [urlsplit(dsn).path[1:]],
        ).fetchone()
        assert row
        return int(row[0])

    def memory(self, application: str) -> float:
        """MiB that the processes of this application's connections have, each for itself."""
        rows = self._control.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [application]
        )
        return sum(psutil.Process(pid).memory_full_info().uss for (pid,) in rows) / 2**20

    def _wal(self) -> float:
        row = self._control.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row
        return float(row[0])

    def _cpu(self) -> float:
        postmaster = psutil.Process(self._server.pid)
        times = postmaster.cpu_times()
        # The children that have ended are counted with their parent, the others each by itself.
        total = times.user + times.system + times.children_user + times.children_system
        for child in postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return float(total)

    def about(self) -> dict[str, Any]:
        """Describes machine, versions and settings, for comparison with another run."""
        row = self._control.execute("SHOW server_version").fetchone()
        assert row
        return {
            "machine": {
                "cores": psutil.cpu_count(),
                "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
                "cpu": _cpu_model(),
                "system": f"{platform.system()} {platform.release()}",
                # What others did before the run: with much of it, figures are worth little.
                "load": round(psutil.getloadavg()[0], 1),
            },
            "versions": {
                "Python": platform.python_version(),
                "PostgreSQL": row[0],
                **_versions(),
            },
            "commit": _git("rev-parse", "--short", "HEAD")
            + (" and changes on top" if _git("status", "--porcelain") else ""),
            "settings": self._settings,
        }


def _versions() -> dict[str, str]:
    """What is installed: a checkout of ours need not be, and is told by its commit."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
