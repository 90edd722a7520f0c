"""A Citus cluster of a test's own, which it may break: a coordinator and its workers."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = Path(os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or "/usr/lib/postgresql/15/bin")

_SETTINGS = {
    "shared_preload_libraries": "citus",
    "max_connections": "300",
    "max_prepared_transactions": "300",  # of commits in two phases, one for each session
    "wal_level": "logical",
    "citus.node_conninfo": "sslmode=disable",
    "citus.enable_statistics_collection": "off",
    "citus.override_table_visibility": "off",
    # What a broken commit leaves behind on a worker is looked for so often.
    "citus.recover_2pc_interval": "1s",
}


class Cluster(NamedTuple):
    """The servers of a cluster; clients connect to the coordinator."""

    coordinator: EmbeddedServer
    workers: list[EmbeddedServer]


def missing() -> str:
    """The reason why no cluster can be started here, or none."""
    if not (BINARIES / "postgres").exists():
        return f"no PostgreSQL in {BINARIES}, which HEPHAESTUS_PG_TEST_BINARIES names"
    control = BINARIES.parents[3] / "share" / "postgresql" / BINARIES.parts[-2] / "extension"
    if not (control / "citus.control").exists():
        return f"Citus is not installed in {control}"
    return ""


@contextmanager
def cluster(settings: dict[str, str], workers: int = 2) -> Iterator[Cluster]:
    """A cluster with these settings beside those that it needs."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(EmbeddedServer(settings=_SETTINGS | settings, binaries=BINARIES))
            for _ in range(workers + 1)
        ]
        for server in servers:
            _execute(server, "CREATE EXTENSION citus")
        coordinator, *others = servers
        _execute(coordinator, f"SELECT citus_set_coordinator_host('127.0.0.1', {coordinator.port})")
        for worker in others:
            _execute(coordinator, f"SELECT citus_add_node('127.0.0.1', {worker.port})")
        yield Cluster(coordinator, others)


def _execute(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(statement.encode())
