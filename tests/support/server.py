"""The server that the tests run against: the first of these that there is.

- ``HEPHAESTUS_PG_TEST_CITUS_DSN``, where ``HEPHAESTUS_PG_TEST_CITUS`` asks for a cluster;
- ``HEPHAESTUS_PG_TEST_DSN``: one that runs already; its role must be allowed to create databases;
- ``HEPHAESTUS_PG_TEST_BINARIES``: the embedded server with the binaries in this folder;
- a container of ``HEPHAESTUS_PG_TEST_IMAGE`` (``postgres:18``), if a Docker engine answers;
- the embedded server.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hephaestus_pg.testing.server import NoContainerError, Server, container, embedded
from tests.support import citus

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def server() -> Iterator[Server]:
    """The server, and what the header says of it."""
    if citus.KIND:
        yield Server(citus.coordinator(), f"Citus, distributed by {citus.KIND}")
        return
    if dsn := os.environ.get("HEPHAESTUS_PG_TEST_DSN"):
        yield Server(dsn, "given by HEPHAESTUS_PG_TEST_DSN")
        return
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with ExitStack() as stack:
        no_container = "HEPHAESTUS_PG_TEST_BINARIES is set"
        if binaries is None:
            try:
                found = stack.enter_context(container())
            except NoContainerError as error:
                no_container = str(error)
            else:
                yield found
                return
        started = stack.enter_context(embedded(binaries))
        yield started._replace(about=f"{started.about} (no container: {no_container})")
