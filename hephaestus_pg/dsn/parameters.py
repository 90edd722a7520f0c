"""The parameters of a DSN: libpq's, the server's settings, and those of other libraries.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import logging
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg.dsn import libpq
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hephaestus_pg")


class Parameter(NamedTuple):
    """A value, and the field that errors name: the parameter or the PG variable it stood in."""

    value: str
    field: str


def classify(
    given: Mapping[str, Parameter],
) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """Divides parameters into those that libpq has and those that are settings of the server.

    A name that nothing here knows counts as a setting: only the server knows all of those. The
    ones safe to ignore are left out, with one line in the log.

    Raises:
        InvalidValueError: A parameter has an impossible value, asks for something that asyncpg
            cannot do, or belongs to another library; all of the latter are named.
    """
    honoured: dict[str, Parameter] = {}
    settings: dict[str, Parameter] = {}
    ignored: list[str] = []
    refused: list[tuple[str, str, str]] = []
    for name, parameter in given.items():
        value, field = parameter
        harmless, advice = libpq.REFUSED.get(name, ((), ""))
        if name == "ssl" and value == "true":  # libpq reads it so for the sake of JDBC's URLs
            honoured["sslmode"] = Parameter("require", field)
        elif name in libpq.HONOURED:
            honoured[name] = Parameter(checked_value(name, value, field), field)
        elif name in libpq.IGNORED or value.lower() in harmless:
            ignored.append(field)
        elif advice := advice or _foreign_advice(name, value):
            refused.append((field, "***" if name in libpq.SECRET else value, advice))
        else:
            settings[name] = parameter
    if refused:
        (field, value, advice), *others = refused
        also = "".join(f"; {name}={value}: {other}" for name, value, other in others)
        raise InvalidValueError(field, value, advice + also)
    if ignored:
        logger.warning(
            "asyncpg cannot do what %s in the DSN (or its environment) says; connecting without",
            ", ".join(ignored),
        )
    return honoured, settings


def checked_value(name: str, value: str, field: str) -> str:
    """Returns the value of a parameter of libpq's, as libpq writes it.

    Raises:
        InvalidValueError: The parameter takes a choice or a number, and the value is not one.
    """
    choices = libpq.CHOICES.get(name)
    if choices and value.replace("_", "-") not in choices:
        hint = "; no-verify is sslmode=require here" if value == "no-verify" else ""
        raise InvalidValueError(field, value, f"give one of {', '.join(choices)}{hint}")
    if name in libpq.NUMBERS and not re.fullmatch(r"\s*-?\d{1,9}\s*", value):
        unit = "milliseconds" if name == "tcp_user_timeout" else "a whole number"
        raise InvalidValueError(field, value, f"give {unit}, such as 10")
    return value.replace("_", "-") if choices else value


def _foreign_advice(name: str, value: str) -> str:
    """Returns advice on a parameter of another library; empty for one that may be a setting."""
    away = "it is no parameter of PostgreSQL's: take it out of the DSN"
    if name in libpq.FOREIGN:
        instead = libpq.FOREIGN[name].format(value=value)
        return f"{away}, and give {instead} instead" if instead else away
    if name in libpq.OPTIONS:
        return f"{away}, and give it as an option: start({name}={value})"
    normalized = _normalized(name)
    for known in sorted(libpq.PARAMETERS):
        if normalized == _normalized(known) and name != known:
            return f"it is written {known}"
    if not _SETTING.fullmatch(name):
        return f"{away}{', and write & for &amp;' if name.startswith('amp;') else ''}"
    return ""


# A setting of the server's, or of an extension, such as app.tenant.
_SETTING = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*")


def _normalized(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def refused_setting(name: str, parameter: Parameter, said: str, code: str) -> InvalidValueError:
    """Makes the error for a setting that the server or PgBouncer refused, saying ``said``."""
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
    """Returns the settings within ``options=-c name=value``, and the remaining text.

    A backslash escapes the blank after it, as in libpq.
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
