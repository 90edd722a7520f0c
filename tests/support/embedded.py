"""Questions to an embedded server, and to the system about processes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psycopg

from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from hephaestus_pg.embedded import EmbeddedServer


def ask(server: EmbeddedServer, query: str) -> str:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, folder: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while is_alive(pid) or folder.exists():
        assert time.monotonic() < deadline, f"{pid} or {folder} is still there"
        time.sleep(0.02)
