"""Hosts and their ports, as they are written in a DSN, a service, a variable or an option."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hephaestus_pg._checks import is_int
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# [address]:port, /folder of a socket, name:port; the port may be missing.
_HOST = re.compile(
    r"\[(?P<v6>[^\]]+)\](?::(?P<p6>\d*))?|(?P<unix>/.+)|(?P<name>[^:\[]+)(?::(?P<p>\d*))?"
)
_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.%\w]*")

LIST_OF_HOSTS = "give host:port, several with a comma between them, IPv6 in [brackets]"

DEFAULT_PORT = 5432
_HIGHEST_PORT = 65535


def parse_hosts(text: str, field: str) -> list[tuple[str, str]]:
    """Returns each host of a comma-separated list, with its port as written, or an empty one.

    Raises:
        InvalidValueError: ``field`` is no such list.
    """
    found = [parse_host(spec) for spec in text.split(",")]
    if None in found:
        raise InvalidValueError(field, text, LIST_OF_HOSTS)
    return [host for host in found if host]


def parse_host(text: str, *, encoded: bool = False) -> tuple[str, str] | None:
    """Returns a host, with its port as written, or an empty one; ``None`` if ``text`` is no host.

    ``encoded``: as in a URL, where a socket's folder is percent-encoded and an IPv6 address needs
    its brackets.
    """
    if not encoded and _IPV6.fullmatch(text):
        return text, ""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    host = found["v6"] or found["unix"] or found["name"]
    return unquote(host) if encoded else host, found["p6"] or found["p"] or ""


def pair_with_ports(
    hosts: Sequence[tuple[str, str]], first: Sequence[int], last: Sequence[int]
) -> list[tuple[str, int]]:
    """Pairs each host with its port: the one in ``first``, else its own, else that in ``last``.

    A single port in ``first`` or ``last`` is every host's.

    Raises:
        InvalidValueError: There are neither one nor as many ports as hosts.
    """
    every = []
    for ports in (first, last):
        if len(ports) not in {0, 1, len(hosts)}:
            raise InvalidValueError(
                "port", list(ports), f"give one, or as many as there are hosts, {len(hosts)}"
            )
        one = ports[0] if ports else 0
        every.append(ports if len(ports) == len(hosts) else [one] * len(hosts))
    return [
        (host, before or (parse_port(own, "port") if own else 0) or after or DEFAULT_PORT)
        for (host, own), before, after in zip(hosts, *every, strict=True)
    ]


def parse_ports(given: Any, field: str) -> list[int]:
    """Reads ports given as a number, a list, or text with commas; an empty one is 0, the default.

    Raises:
        InvalidValueError: One of them is no port.
    """
    if given is None:
        return []
    each: Iterable[Any] = given.split(",") if isinstance(given, str) else given
    if isinstance(given, int):
        each = [given]
    elif not isinstance(each, (list, tuple)):
        raise InvalidTypeError(field, given, "give a port, or a list of them")
    return [parse_port(port, field) if port != "" else 0 for port in each]


def parse_port(given: Any, field: str) -> int:
    """Returns a port, given as a number or as text.

    Raises:
        InvalidValueError: It is no number from 1 to 65535.
    """
    if not (isinstance(given, str) or is_int(given)):
        raise InvalidTypeError(field, given, f"give a port, a number from 1 to {_HIGHEST_PORT}")
    text = str(given).strip()
    if not text.isdecimal() or not 0 < int(text[:9]) <= _HIGHEST_PORT:
        raise InvalidValueError(field, given, f"give a port, a number from 1 to {_HIGHEST_PORT}")
    return int(text)
