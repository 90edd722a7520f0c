"""The hosts of a DSN, and the first of several that will have us."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import anyio

from hephaestus_pg.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

T = TypeVar("T")

HEAD_START = 0.25
"""Seconds that a host has to itself before the next one is tried as well."""

# [address]:port, /folder of a socket, name:port; the port may be missing.
_HOST = re.compile(
    r"\[(?P<v6>[^\]]+)\](?::(?P<p6>\d+))?|(?P<unix>/.+)|(?P<name>[^:]+)(?::(?P<p>\d+))?"
)


def setting(dsn: str | None, name: str, variable: str) -> str:
    """What the DSN's query says, or else the environment."""
    given = parse_qs(urlsplit(dsn or "").query).get(name)
    return given[-1] if given else os.environ.get(variable, "")


def several_hosts(dsn: str | None, options: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Each host and its port, where there are several; nothing where there is one.

    As asyncpg finds them: in ``options``, the DSN, its query or ``PGHOST``, the first that has any.
    A mistake is left to asyncpg, which says what it is.
    """
    parts = urlsplit(dsn or "")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    port, given = options.get("port"), options.get("host")
    if given:
        specs = [] if isinstance(given, str) else [(str(host), "") for host in given]
    else:
        text = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
        decode = unquote if text else str
        if not text:
            port = port or query.get("port")
            text = query.get("host", "")
        if not text and not (query.get("service") or os.environ.get("PGSERVICE")):
            text = os.environ.get("PGHOST", "")
        found = [_HOST.fullmatch(spec) for spec in text.split(",")]
        specs = [
            (decode(match["v6"] or match["unix"] or match["name"]), match["p6"] or match["p"] or "")
            for match in found
            if match
        ]
        if len(specs) < len(found):
            return []
    ports, defaults = _each(port, len(specs)), _each(os.environ.get("PGPORT"), len(specs))
    if not specs[1:] or not len(specs) == len(ports) == len(defaults):
        return []
    return [
        (host, int(ports[n] or own or defaults[n] or 5432)) for n, (host, own) in enumerate(specs)
    ]


def _each(port: Any, hosts: int) -> Sequence[Any]:
    """The ports of that many hosts: one that stands alone is every host's."""
    ports = port.split(",") if isinstance(port, str) else port
    if not isinstance(ports, (list, tuple)):
        ports = [ports]
    return ports * hosts if len(ports) == 1 else ports


async def first_of(
    attempts: Sequence[Callable[[], Awaitable[T]]], *, unwanted: Callable[[T], None]
) -> tuple[int, T]:
    """The first of the attempts that succeeds, and which it is.

    Each begins when the one before it has failed, or has taken :data:`HEAD_START` seconds: a silent
    host uses up neither the others' time nor that of the caller, whose deadline nobody here knows.
    ``unwanted`` is given what came too late.

    Raises:
        DatabaseError: The most telling of theirs: rather a wrong password than "a standby".
    """
    won: list[tuple[int, T]] = []
    failures: list[Exception] = []

    async def attempt(index: int, ended: anyio.Event) -> None:
        try:
            won.append((index, await attempts[index]()))
            group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - one of them is raised below
            failures.append(error)
        finally:
            ended.set()

    try:
        async with anyio.create_task_group() as group:
            for index in range(len(attempts)):
                ended = anyio.Event()
                group.start_soon(attempt, index, ended)
                with anyio.move_on_after(HEAD_START):
                    await ended.wait()
    except BaseException:
        for _, late in won:
            unwanted(late)
        raise
    for _, late in won[1:]:
        unwanted(late)
    if won:
        return won[0]
    telling = next((each for each in failures if not _passing(each)), failures[-1])
    if isinstance(telling, DatabaseError):
        # A host that refuses us for good does not keep another one from coming back.
        telling.retryable = any(map(_passing, failures))
    raise telling


def _passing(error: Exception) -> bool:
    return isinstance(error, DatabaseError) and error.retryable
