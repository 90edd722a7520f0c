"""Connections that listen, as those of storages do that wait for what others write."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from benchmarks.claimable import REGISTER
from hephaestus_pg.watch.watching import channel_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHANNEL = channel_of("public")

_PAUSE = 0.01
"""Seconds between two looks at what has come."""


@contextmanager
def listening(dsn: str, number: int) -> Iterator[None]:
    """So many connections listen during the block, each with the row that has others notify."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(psycopg.connect(dsn, autocommit=True)) for _ in range(number)
        ]
        for connection in connections:
            connection.execute(f"LISTEN {CHANNEL}".encode())
            connection.execute(REGISTER.replace("$1", "%s").encode(), [str(uuid4())])
        ended = Event()
        reading = Thread(target=_read, args=(connections, ended))
        reading.start()
        try:
            yield
        finally:
            ended.set()
            reading.join()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("DELETE FROM workflow_runners")


def _read(connections: Sequence[psycopg.Connection[Any]], ended: Event) -> None:
    """Takes what comes as it is: it is the server's cost that counts, not that of reading it."""
    while not ended.wait(_PAUSE):
        for connection in connections:
            with suppress(BlockingIOError):
                while os.read(connection.fileno(), 1 << 16):
                    pass
