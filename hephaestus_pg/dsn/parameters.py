"""What becomes of a DSN's parameters: libpq's, PostgreSQL's settings, and those of other libraries.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import inspect
import logging
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from hephaestus_pg.dsn import libpq
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hephaestus_pg")


class Parameter(NamedTuple):
    """What was given, and where: the name of the parameter or of the PG variable."""

    value: str
    field: str


# Where a parameter stands if not in the DSN or in a service.
_OPTIONS = inspect.signature(asyncpg.connect).parameters | (
    inspect.signature(asyncpg.create_pool).parameters
)
_SETTING = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*")


def sorted_out(
    given: Mapping[str, Parameter],
) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """What is honoured here, and what is a setting of the server's, as far as names tell.

    What is left out because nobody loses by it is one line in the log.

    Raises:
        InvalidValueError: A parameter is none of these, or its value is not what it takes.
    """
    honoured: dict[str, Parameter] = {}
    settings: dict[str, Parameter] = {}
    left_out: list[str] = []
    refused: list[tuple[str, str, str]] = []
    for name, parameter in given.items():
        value, field = parameter
        values, advice = libpq.UNLESS.get(name, ((), ""))
        if name == "ssl" and value == "true":  # as libpq reads it, for JDBC's sake
            honoured["sslmode"] = Parameter("require", field)
        elif name in libpq.HONOURED:
            honoured[name] = Parameter(checked(name, value, field), field)
        elif name in libpq.LEFT_OUT or value.lower() in values:
            left_out.append(field)
        elif advice := advice or _other_library(name, value):
            refused.append((field, "***" if name in libpq.SECRET else value, advice))
        else:
            settings[name] = parameter
    if refused:
        (field, value, advice), *others = refused
        also = "".join(f"; {name}={value}: {what}" for name, value, what in others)
        raise InvalidValueError(field, value, advice + also)
    if left_out:
        logger.warning(
            "asyncpg cannot do what %s in the DSN (or its environment) says; connecting without",
            ", ".join(left_out),
        )
    return honoured, settings


def checked(name: str, value: str, field: str) -> str:
    """The value of a parameter that is honoured; what it may be is a choice or a number for some.

    Raises:
        InvalidValueError: It is neither.
    """
    choices = libpq.CHOICES.get(name)
    if choices and value.replace("_", "-") not in choices:
        hint = "; no-verify is sslmode=require here" if value == "no-verify" else ""
        raise InvalidValueError(field, value, f"give one of {', '.join(choices)}{hint}")
    if name in libpq.NUMBERS and not re.fullmatch(r"\s*-?\d{1,9}\s*", value):
        unit = "milliseconds" if name == "tcp_user_timeout" else "a whole number"
        raise InvalidValueError(field, value, f"give {unit}, such as 10")
    return value.replace("_", "-") if choices else value


def _other_library(name: str, value: str) -> str:
    """What to do about a parameter that cannot be a setting of the server's; else nothing."""
    away = "it is no parameter of PostgreSQL's: take it out of the DSN"
    if name in libpq.FOREIGN:
        instead = libpq.FOREIGN[name].format(value=value)
        return f"{away}, and give {instead} instead" if instead else away
    if name in _OPTIONS:
        return f"{away}, and give it as an option: start({name}={value})"
    squeezed = _squeezed(name)
    for known in sorted(libpq.PARAMETERS):
        if squeezed == _squeezed(known) and name != known:
            return f"it is written {known}"
    if not _SETTING.fullmatch(name):
        return f"{away}{', and write & for &amp;' if name.startswith('amp;') else ''}"
    return ""


def _squeezed(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def refused_setting(name: str, parameter: Parameter, said: str, code: str) -> InvalidValueError:
    """The server, or PgBouncer, refused that setting, by what it ``said`` and its SQLSTATE."""
    close = get_close_matches(name, libpq.PARAMETERS, n=1, cutoff=0.75)
    meant = f"; did you mean {close[0]}?" if close else ""
    advice = f"the server does not take it as a setting ({said})"
    if code == "42704":
        advice = f"neither libpq nor the server knows it: take it out of the DSN{meant} ({said})"
    elif code == "08P01":
        advice = (
            "PgBouncer does not take it: take it out of the DSN, set it for the role or the "
            f"database on the server (ALTER ROLE … SET …), and start with pgbouncer=True{meant}"
        )
    return InvalidValueError(name, parameter.value, advice)


def split_options(text: str) -> tuple[dict[str, str], str]:
    """The settings of ``options=-c name=value``, and what else stands there, as it is.

    A setting that stands for itself goes before ours of the same name. Backslashes keep blanks.
    """
    settings: dict[str, str] = {}
    rest: list[str] = []
    words = re.findall(r"(?:\\.|\S)+", text)
    while words:
        word = words.pop(0)
        if word == "-c" and words and "=" in words[0]:
            word += words.pop(0)
        name, equals, value = re.sub(r"\\(.)", r"\1", word).partition("=")
        if equals and word.startswith("-c"):
            settings[name[2:].replace("-", "_")] = value
        else:
            rest.append(word)
    return settings, " ".join(rest)
