"""The options for a pool of our own, checked before asyncpg sees them."""

from __future__ import annotations

import inspect
import math
import ssl
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg._checks import is_int
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

POOL_OPTIONS = frozenset(
    name
    for function in (asyncpg.create_pool, asyncpg.connect)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in {"loop", "timeout"}
)
"""The options of asyncpg's, without those that the storage decides."""

MAX_SIZE = 10
"""The default for the number of connections in a pool."""


def checked_pool_options(
    options: Mapping[str, Any], *, others: Iterable[str] = ()
) -> Mapping[str, Any]:
    """Returns the options unchanged if asyncpg takes them.

    ``others`` are names that the caller takes itself, to be suggested for misspelt ones.

    Raises:
        InvalidTypeError: An option does not exist, or its value is of the wrong type.
        InvalidValueError: A value is out of range.
    """
    for name, value in options.items():
        if name not in POOL_OPTIONS:
            close = get_close_matches(name, POOL_OPTIONS.union(others), n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise InvalidTypeError(
                name, _without_secret(name, value), f"there is no such option{meant}"
            )
        _check_type(name, value)
    _check_hosts(options.get("host"), options.get("port"))
    _check_settings(options.get("server_settings"))
    _check_ssl(options.get("ssl"))
    _check_sizes(options)
    return options


def _check_sizes(options: Mapping[str, Any]) -> None:
    lowest, highest = options.get("min_size", 0), options.get("max_size", MAX_SIZE)
    if lowest > highest:
        default = "" if "max_size" in options else ", the default"
        raise InvalidValueError(
            "min_size", lowest, f"give at most max_size, which is {highest}{default}"
        )
    first = options.get("init_size")
    if first is not None and not lowest <= first <= highest:
        raise InvalidValueError(
            "init_size", first, f"give from min_size to max_size, {lowest} to {highest}"
        )


# The lower bound of each.
_INTEGERS = {
    "max_cacheable_statement_size": 0,
    "init_size": 0,
    "max_queries": 1,
    "max_size": 1,
    "min_size": 0,
    "statement_cache_size": 0,
}
_SECONDS = {
    "command_timeout": math.nextafter(0, 1),
    "max_cached_statement_lifetime": 0,
    "max_inactive_connection_lifetime": 0,
}
_MAY_BE_NONE = {"command_timeout", "init_size"}
_CALLABLES = {"connect", "init", "reset", "setup"}
_TEXTS = {
    "database",
    "gsslib",
    "krbsrvname",
    "passfile",
    "password",
    "service",
    "servicefile",
    "target_session_attrs",
    "user",
}
_PATHS = {"passfile", "servicefile"}
_CLASSES: dict[str, type] = {
    "connection_class": asyncpg.Connection,
    "record_class": asyncpg.Record,
}


def _check_type(name: str, value: Any) -> None:
    if name in _INTEGERS and (value is not None or name not in _MAY_BE_NONE):
        _check_number(name, value, "a whole number", _INTEGERS[name])
    elif name in _SECONDS and (value is not None or name not in _MAY_BE_NONE):
        _check_number(name, value, "a number of seconds", _SECONDS[name])
    elif name in _CALLABLES and not (value is None or callable(value)):
        raise InvalidTypeError(name, value, "give a function")
    elif name in _TEXTS and value is not None:
        _check_text(name, value)
    elif name in _CLASSES and not (isinstance(value, type) and issubclass(value, _CLASSES[name])):
        raise InvalidTypeError(name, value, f"give a subclass of {_CLASSES[name].__name__}")


def _check_number(name: str, value: Any, kind: str, least: float) -> None:
    if not (is_int(value) or (name in _SECONDS and isinstance(value, float))):
        raise InvalidTypeError(name, value, f"give {kind}")
    if not value >= least:  # NaN is not
        bound = f"from {least} on" if isinstance(least, int) else "above 0"
        raise InvalidValueError(name, value, f"give {kind} {bound}")


def _check_text(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if name == "password" and callable(value):
        return
    if name in _PATHS and isinstance(value, PathLike):
        return
    also = {"password": ", or a function that gives it"}.get(name, "")
    if hasattr(value, "get_secret_value"):
        also = ": get_secret_value() gives it"
    raise InvalidTypeError(name, _without_secret(name, value), f"give text{also}")


def _check_hosts(host: Any, port: Any) -> None:
    hosts = host if isinstance(host, (list, tuple)) else [host or ""]
    for each in hosts:
        if not isinstance(each, str):
            raise InvalidTypeError("host", host, "give text, or a list of texts")
    ports = port if isinstance(port, (list, tuple)) else [port]
    for each in ports:
        if not (each is None or isinstance(each, str) or is_int(each)):
            raise InvalidTypeError("port", port, "give a number, or a list of numbers")


def _check_settings(settings: Any) -> None:
    if settings is None:
        return
    if not isinstance(settings, dict):
        raise InvalidTypeError("server_settings", settings, "give a dict of texts")
    for name, value in settings.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidTypeError(
                f"server_settings[{name!r}]", value, "give text, such as '5' or 'on'"
            )


def _check_ssl(value: Any) -> None:
    if value is not None and not isinstance(value, (bool, str, ssl.SSLContext)):
        raise InvalidTypeError(
            "ssl", value, "give True, False, an ssl.SSLContext, or what sslmode may be"
        )


def _without_secret(name: str, value: Any) -> Any:
    secret = any(part in name.lower() for part in ("pas", "pwd", "secret", "token"))
    return f"<{type(value).__name__}>" if secret else value
