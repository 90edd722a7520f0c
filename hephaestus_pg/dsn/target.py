"""The target of a connection: read from options, a DSN, its service and the PG variables."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hephaestus_pg.dsn import libpq
from hephaestus_pg.dsn.hosts import LIST_OF_HOSTS, pair_with_ports, parse_hosts, parse_ports
from hephaestus_pg.dsn.parameters import (
    Parameter,
    checked_value,
    classify,
    split_options,
)
from hephaestus_pg.dsn.passfile import check_passfile
from hephaestus_pg.dsn.services import read_service
from hephaestus_pg.dsn.text import dsn_text, parse_url
from hephaestus_pg.dsn.tls import check_files, system_context
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ONLY_IN_DSN = (
    *("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
"""Parameters that asyncpg takes only from a DSN."""

_SOCKET = (
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
)

_ARGUMENTS = {
    "user": "user",
    "password": "password",
    "database": "dbname",
    "passfile": "passfile",
    "krbsrvname": "krbsrvname",
    "gsslib": "gsslib",
    "ssl": "sslmode",
}
"""Options of asyncpg, and libpq's name for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The hosts to connect to, and how."""

    hosts: tuple[tuple[str, int], ...]
    """Empty: asyncpg looks for a server on this machine."""

    dsn: str | None = field(repr=False)
    """A DSN for asyncpg, of the parameters that it takes only from there."""

    options: Mapping[str, Any] = field(repr=False)
    """Options for asyncpg."""

    settings: Mapping[str, Parameter]
    """Settings for the server."""

    socket: Mapping[str, int]
    """``keepalives`` and the like."""

    connect_timeout: float | None
    """Seconds that each host has, if there is a limit."""

    session: str | None
    """The kind of server that is wanted: ``target_session_attrs``."""

    shuffled: bool
    """The hosts are tried in random order."""


def checked_dsn(dsn: Any) -> str | None:
    """Returns the DSN's text, by default that of ``HEPHAESTUS_PG_DSN``; ``None`` if there is none.

    Raises:
        InvalidValueError: It cannot be read; the error says what to type instead.
    """
    origin = ""
    if dsn is None:
        dsn = os.environ.get("HEPHAESTUS_PG_DSN") or None
        origin = " (from HEPHAESTUS_PG_DSN)"
    if dsn is None:
        return None
    text = dsn_text(dsn)
    parse_url(text, origin)
    return text


def resolve(dsn: str | None, options: Mapping[str, Any]) -> Target:
    """Resolves a DSN, its service, the PG variables and asyncpg's ``options`` into a target.

    Options take precedence over the DSN, the DSN over its service, and that over the variables.

    Raises:
        InvalidValueError: One of them cannot be read, or asks for something impossible.
    """
    theirs = {name: value for name, value in options.items() if value is not None}
    authority, own = parse_url(dsn) if dsn else ([], {})
    given = _with_service({name: Parameter(value, name) for name, value in own.items()}, theirs)
    named = bool(authority or "host" in given or theirs.get("host"))
    variables = {
        name: Parameter(value, variable)
        for name, variable in libpq.VARIABLES.items()
        if (value := os.environ.get(variable)) and not (named and name in {"host", "hostaddr"})
    }
    port = variables.pop("port", None)
    honoured, settings = classify({**variables, **given})
    root = honoured.get("sslrootcert")
    if by_system := root is not None and root.value == "system":  # libpq's default then
        honoured.setdefault("sslmode", Parameter("verify-full", "sslrootcert"))
    hosts = _hosts(authority, honoured, theirs, port)
    local = all(host[:1] == "/" for host, _ in hosts)
    values = {name: parameter.value for name, parameter in honoured.items()}
    arguments, in_dsn = _arguments(honoured, theirs, local=local)
    if local and "ssl" in arguments and (hosts or by_system):
        arguments["ssl"] = "disable"  # over a socket there is no TLS: its files need not be there
    if not hosts and "port" in honoured:
        arguments["port"] = parse_ports(*honoured["port"])
    if not (theirs.get("user") or arguments.get("user") or os.environ.get("PGUSER")):
        _require_system_user()
    session = theirs.get("target_session_attrs")
    if isinstance(session, str):
        session = checked_value("target_session_attrs", session, "target_session_attrs")
    seconds = int(values.get("connect_timeout", 0))
    return Target(
        hosts=tuple(hosts),
        dsn=f"postgresql://?{urlencode(in_dsn)}" if in_dsn else None,
        options=arguments,
        settings=_with_options(settings, honoured),
        socket={name: int(values[name]) for name in _SOCKET if name in values},
        connect_timeout=seconds if seconds > 0 else None,
        session=session or values.get("target_session_attrs"),
        shuffled=values.get("load_balance_hosts") == "random",
    )


def _require_system_user() -> None:
    """Checks that the system has a name for who runs this, which is the default for the user's.

    Raises:
        InvalidValueError: It has none, as in a container that is run by a number.
    """
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError) as error:
        raise InvalidValueError(
            "user", None, "name one in the DSN or in PGUSER: the system has no name for this one"
        ) from error


def _with_service(given: dict[str, Parameter], options: Mapping[str, Any]) -> dict[str, Parameter]:
    """Adds the parameters of the service that an option, the DSN or ``PGSERVICE`` names."""
    service = given.pop("service", None)
    if asked := options.get("service"):
        service = Parameter(asked, "service")
    elif service is None and (asked := os.environ.get("PGSERVICE")):
        service = Parameter(asked, "PGSERVICE")
    file = given.pop("servicefile", None)
    if service is None:
        return given
    path = options.get("servicefile") or (file.value if file else None)
    found = read_service(service.value, path, service.field)
    if "database" in found:
        found["dbname"] = found.pop("database")
    place = f"of the service {service.value}"
    return {name: Parameter(found[name], f"{name} {place}") for name in found} | given


def _hosts(
    authority: list[tuple[str, str]],
    given: Mapping[str, Parameter],
    options: Mapping[str, Any],
    variable: Parameter | None,
) -> list[tuple[str, int]]:
    """Pairs hosts and ports, from the first of options, DSN, service and variables to name any."""
    asked, first = options.get("host"), parse_ports(options.get("port"), "port")
    if asked:
        names = asked.split(",") if isinstance(asked, str) else asked
        if not all(names):
            raise InvalidValueError("host", asked, LIST_OF_HOSTS)
        hosts = [(str(name), "") for name in names]
    elif authority:
        hosts = authority
    else:
        hosts = parse_hosts(*given["host"]) if "host" in given else []
    if not asked and (address := given.get("hostaddr")):
        hosts = _with_addresses(
            address, hosts, verified=given.get("sslmode", address).value == "verify-full"
        )
    if not first and "port" in given and (asked or not authority):
        first = parse_ports(*given["port"])
    last = parse_ports(*variable) if variable else []
    return pair_with_ports(hosts, first, last) if hosts else []


def _with_addresses(
    address: Parameter, hosts: list[tuple[str, str]], *, verified: bool
) -> list[tuple[str, str]]:
    """Replaces the hosts by the addresses that ``hostaddr`` gives, to save the look-up."""
    addresses = [each.strip() for each in address.value.split(",")]
    if hosts and (verified or len(addresses) != len(hosts)):
        raise InvalidValueError(
            address.field,
            address.value,
            "asyncpg would look for the address in the server's certificate: take it away, so that "
            "the host's name is looked up"
            if verified
            else f"give as many as there are hosts, {len(hosts)}",
        )
    ports = [port for _, port in hosts] or [""] * len(addresses)
    return list(zip(addresses, ports, strict=True))


def _arguments(
    given: Mapping[str, Parameter], options: Mapping[str, Any], *, local: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Sorts what asyncpg takes as options from what it takes only in a DSN."""
    if isinstance(asked := options.get("ssl"), str):
        given = {**given, "sslmode": Parameter(checked_value("sslmode", asked, "ssl"), "ssl")}
    values = {name: parameter.value for name, parameter in given.items()}
    arguments: dict[str, Any] = {
        option: values[name] for option, name in _ARGUMENTS.items() if name in values
    }
    in_dsn = {name: values[name] for name in _ONLY_IN_DSN if name in values}
    if (asked is None or isinstance(asked, str)) and not local:
        check_files(given)
        if in_dsn.get("sslrootcert") == "system":
            arguments["ssl"] = system_context(values)
            del in_dsn["sslrootcert"]
    passwords = (values.get("password"), options.get("password"), os.environ.get("PGPASSWORD"))
    if not any(passwords):
        file = options.get("passfile")
        named = Parameter(os.fspath(file), "passfile") if file else given.get("passfile")
        if named:
            check_passfile(*named)
    return arguments, in_dsn


def _with_options(
    settings: dict[str, Parameter], given: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """Adds the settings within ``options``, and the application's name; ``settings`` go first."""
    found: dict[str, Parameter] = {}
    if options := given.get("options"):
        within, rest = split_options(options.value)
        found = {name: Parameter(value, name) for name, value in within.items()}
        if rest:
            found["options"] = Parameter(rest, options.field)
    name = given.get("application_name") or given.get("fallback_application_name")
    return found | settings | ({"application_name": name} if name else {})
