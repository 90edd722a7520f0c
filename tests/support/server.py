"""The server that the tests run against: the first of these that there is.

- ``HEPHAESTUS_PG_TEST_CITUS_DSN``, where ``HEPHAESTUS_PG_TEST_CITUS`` asks for a cluster;
- ``HEPHAESTUS_PG_TEST_DSN``: one that runs already; its role must be allowed to create databases;
- ``HEPHAESTUS_PG_TEST_BINARIES``: the embedded server with the binaries in this folder;
- a container of ``HEPHAESTUS_PG_TEST_IMAGE`` (``postgres:18``), if a Docker engine answers;
- the embedded server.
"""

from __future__ import annotations

import gc
import os
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hephaestus_pg.embedded import EmbeddedServer
from tests.support import citus

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the tests write has no need to outlive the machine.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "synchronous_commit": "off",
}


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """What the header says of the server, and its DSN."""
    if citus.KIND:
        yield f"Citus, distributed by {citus.KIND}", citus.coordinator()
        return
    if dsn := os.environ.get("HEPHAESTUS_PG_TEST_DSN"):
        yield "given by HEPHAESTUS_PG_TEST_DSN", dsn
        return
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES")
    with ExitStack() as stack:
        no_container = "HEPHAESTUS_PG_TEST_BINARIES is set"
        if not binaries:
            # Docker's client leaves its socket behind when no engine answers.
            with warnings.catch_warnings(action="ignore"):
                try:
                    found = stack.enter_context(_container())
                except Exception as error:  # noqa: BLE001 - of Docker, of HTTP, of the system
                    found = None
                    no_container = str(error).splitlines()[0][:100]
                gc.collect()
            if found:
                yield found
                return
        started = stack.enter_context(EmbeddedServer(settings=SETTINGS, binaries=binaries))
        yield f"embedded, {started.binaries} (no container: {no_container})", started.dsn


@contextmanager
def _container() -> Iterator[tuple[str, str]]:
    import docker

    docker.from_env(timeout=5).ping()
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:
        from testcontainers.postgres import PostgresContainer
    image = os.environ.get("HEPHAESTUS_PG_TEST_IMAGE", "postgres:18")
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    container = PostgresContainer(image, driver=None).with_command(f"postgres {options}")
    with container:
        yield f"testcontainers, image {image}", container.get_connection_url()
