"""Databases on the server that the tests use, and who makes and drops them."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = pytest.StashKey[str]()
"""The DSN of the server, in the stash of pytest's configuration."""


class Owner:
    """A session that makes and drops things for tests; opened again where a test has ended it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        # A test that left a transaction open fails when its schema is dropped, rather than hanging.
        return psycopg.connect(self._dsn, autocommit=True, options="-c lock_timeout=10s")

    def execute(self, statement: str) -> None:
        try:
            self._connection.execute(statement.encode())
        except psycopg.OperationalError:
            if not self._connection.closed:
                raise
            self._connection = self._connect()
            self._connection.execute(statement.encode())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def new_database(config: pytest.Config, options: str = "") -> Iterator[str]:
    """The DSN of a database that ends with the block; ``options`` are those of its creation."""
    server = config.stash[SERVER]
    name = f"test_{uuid4().hex[:12]}"
    with closing(Owner(server)) as owner:
        owner.execute(f"CREATE DATABASE {name}{options}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with closing(Owner(server)) as owner:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
