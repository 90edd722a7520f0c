"""Hosts and their ports, and the first of several hosts that will have us."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import anyio

from hephaestus_pg.errors import (
    DatabaseError,
    InvalidTypeError,
    InvalidValueError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

T = TypeVar("T")

HEAD_START = 0.25
"""Seconds that a host has to itself before the next one is tried as well."""

# [address]:port, /folder of a socket, name:port; the port may be missing.
_HOST = re.compile(
    r"\[(?P<v6>[^\]]+)\](?::(?P<p6>\d*))?|(?P<unix>/.+)|(?P<name>[^:\[]+)(?::(?P<p>\d*))?"
)


LIST_OF_HOSTS = "give host:port, several with a comma between them, IPv6 in [brackets]"


def hosts_in(text: str, field: str) -> list[tuple[str, str]]:
    """Each host of a list with commas, and the port that stands at it, if any does.

    Raises:
        InvalidValueError: ``field`` is no such list.
    """
    found = [host_in(spec) for spec in text.split(",")]
    if None in found:
        raise InvalidValueError(field, text, LIST_OF_HOSTS)
    return [host for host in found if host]


def host_in(text: str, *, encoded: bool = False) -> tuple[str, str] | None:
    """A host, and the port that stands at it, if any does.

    ``encoded``: as in a URL, where a socket's folder is percent-encoded, and an IPv6 address needs
    its brackets.
    """
    if not encoded and _IPV6.fullmatch(text):
        return text, ""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    host = found["v6"] or found["unix"] or found["name"]
    return unquote(host) if encoded else host, found["p6"] or found["p"] or ""


_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.%\w]*")


def with_ports(
    hosts: Sequence[tuple[str, str]], first: Sequence[int], last: Sequence[int]
) -> list[tuple[str, int]]:
    """Each host with its port: of ``first``, else the one at it, else of ``last``.

    One port that stands alone is every host's.

    Raises:
        InvalidValueError: The ports are not as many as the hosts.
    """
    every = []
    for ports in (first, last):
        if len(ports) not in {0, 1, len(hosts)}:
            raise InvalidValueError(
                "port", list(ports), f"give one, or as many as there are hosts, {len(hosts)}"
            )
        every.append(ports if len(ports) == len(hosts) else [*ports, 0][:1] * len(hosts))
    return [
        (host, before or (checked_port(own, "port") if own else 0) or after or 5432)
        for (host, own), before, after in zip(hosts, *every, strict=True)
    ]


def checked_ports(given: Any, field: str) -> list[int]:
    """Ports as a number, a list of them, or text with commas; an empty one is 0, the default."""
    if given is None:
        return []
    each: Iterable[Any] = given.split(",") if isinstance(given, str) else given
    if isinstance(given, int):
        each = [given]
    elif not isinstance(each, (list, tuple)):
        raise InvalidTypeError(field, given, "give a port, or a list of them")
    return [checked_port(port, field) if port != "" else 0 for port in each]


_HIGHEST = 65535


def checked_port(given: Any, field: str) -> int:
    """A port as a number."""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise InvalidTypeError(field, given, f"give a port, a number from 1 to {_HIGHEST}")
    text = str(given).strip()
    if not text.isdecimal() or not 0 < int(text[:9]) <= _HIGHEST:
        raise InvalidValueError(field, given, f"give a port, a number from 1 to {_HIGHEST}")
    return int(text)


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
    if not failures:  # who ends a program by cancelling every task has cancelled these too
        raise UnavailableError(
            "no connection to PostgreSQL: the tries to connect were cancelled",
            applied="no",
            retryable=True,
        )
    telling = next((each for each in failures if not _passing(each)), failures[-1])
    if isinstance(telling, DatabaseError):
        # A host that refuses us for good does not keep another one from coming back.
        telling.retryable = any(map(_passing, failures))
    raise telling


def _passing(error: Exception) -> bool:
    return isinstance(error, DatabaseError) and error.retryable
