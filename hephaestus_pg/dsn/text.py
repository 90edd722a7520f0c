"""The text of a DSN: its hosts and parameters, or advice on how to write it.

No message, and no value of an error, shows a password.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from hephaestus_pg._checks import plain_text
from hephaestus_pg.dsn.hosts import LIST_OF_HOSTS, parse_host
from hephaestus_pg.dsn.masking import mask_dsn, without_password
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

URL = "postgresql://user:password@host:port/database"


class Url(NamedTuple):
    """The parts of a DSN: hosts with their ports as written, and everything else by name."""

    hosts: list[tuple[str, str]]
    parameters: dict[str, str]


def dsn_text(dsn: Any) -> str:
    """Returns the text of a DSN, or of an object whose ``str`` is one, such as a URL's class.

    Raises:
        InvalidTypeError: The object's text is no DSN, or hides it.
    """
    if isinstance(dsn, str):
        return plain_text(dsn)
    kind = f"<{type(dsn).__name__}>"
    if isinstance(dsn, (bytes, bytearray, memoryview)):
        raise InvalidTypeError("dsn", kind, "give text: dsn.decode() of bytes")
    text = str(dsn)
    if text and not text.strip("*"):
        raise InvalidTypeError(
            "dsn", kind, "it hides what it holds: give dsn.get_secret_value(), or the text itself"
        )
    if re.match(r"[a-z][\w+.-]*://", text):
        return text
    advice = f"give text, such as {URL}"
    if hasattr(dsn, "acquire"):
        advice = "a pool is given as pool=, a DSN as text"
    elif isinstance(dsn, dict):
        advice += ", or the parts as options: host=, port=, user=, password=, database="
    raise InvalidTypeError("dsn", kind, advice)


def parse_url(text: str, origin: str = "") -> Url:
    """Takes a DSN apart; ``origin`` says in the error where the text came from.

    Raises:
        InvalidValueError: It is no URL of PostgreSQL's, is ambiguous, or hides its password.
    """
    rest = text.partition("://")[2]
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    user, _, hosts = authority.rpartition("@")
    found = [parse_host(host, encoded=True) for host in hosts.split(",")] if hosts else []
    wrong = _shape_advice(text) or _ambiguity_advice(rest, user, hosts, path)
    wrong = wrong or (LIST_OF_HOSTS if None in found else "")
    try:
        parameters, query_advice = _parameters(user, path, query)
        wrong = wrong or query_advice
    except UnicodeDecodeError:
        wrong = wrong or "what is percent-encoded in it must be UTF-8"
    if wrong:
        raise InvalidValueError("dsn", mask_dsn(text), wrong + origin)
    if parameters.get("password") and not parameters["password"].strip("*"):
        raise InvalidValueError(
            "dsn",
            mask_dsn(text),
            "its password is ***, which is how it is hidden: give the text with the password itself"
            f", which SQLAlchemy has as url.render_as_string(hide_password=False){origin}",
        )
    return _by_query([host for host in found if host], parameters)


def _by_query(hosts: list[tuple[str, str]], parameters: dict[str, str]) -> Url:
    """What the query says of hosts or ports takes precedence, as in libpq."""
    if not hosts or not parameters.keys() & {"host", "port"}:
        return Url(hosts, parameters)
    own = {"host": ",".join(host for host, _ in hosts)}
    if any(port for _, port in hosts):
        own["port"] = ",".join(port for _, port in hosts)
    return Url([], own | parameters)


def _parameters(user: str, path: str, query: str) -> tuple[dict[str, str], str]:
    """Decodes the parameters, user, password and database among them; advises on the query.

    Raises:
        UnicodeDecodeError: A percent-encoded part is not UTF-8.
    """
    name, _, password = user.partition(":")
    given = [("user", unquote(name, errors="strict"))]
    given += [("password", unquote(password, errors="strict"))]
    given += [("dbname", unquote(path[1:], errors="strict"))]
    advice = ""
    for part in filter(None, query.split("&")):
        name, equals, value = (unquote_plus(each) for each in part.partition("="))
        if not equals:
            advice = advice or "its query must be name=value, each after ? or &"
        elif name in {"database", "dbname", "user", "password"}:
            # As in asyncpg, the part before the query takes precedence.
            given.insert(0, ("dbname" if name == "database" else name, value))
        else:
            given.append((name, value))
    return {name: value for name, value in given if value}, advice


def _shape_advice(text: str) -> str:
    """Returns advice on a text that is no URL of PostgreSQL's; empty for one that is."""
    if not text:
        return (
            "it is empty: give one, or leave it out for HEPHAESTUS_PG_DSN, else the PG* variables"
        )
    for pattern, advice in _SHAPES:
        if found := re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return advice.format(*found.groups(), url=URL, as_url=_keywords_as_url(text))
    return ""


_SHAPES = (
    (r"\s|.*\s\Z", "there are blanks or line ends around it: take them away, as strip() does"),
    (
        r"['\"`]|[^'\"`]*['\"`]\Z",
        "there are quotes around it, which are part of it: take them away",
    ),
    (r"psql\s", "it is a command: take psql and the quotes away, and give the URL alone"),
    (r"((?:export\s+)?\w+\s*=)\s*['\"]?\w+://", "take {0} away, and give the URL alone"),
    (r"\w+\s*=", "it is in libpq's form of keywords: give it as a URL, {as_url}"),
    (r"jdbc:", "take jdbc: away, and give {url}"),
    (r"(?:postgres|postgresql)(\+[\w.+-]*)://", "take {0} away: give postgresql://…"),
    (r"prisma", "it leads to Prisma's own proxy: give the database's own URL, postgresql://…"),
    (r"(?!postgres(?:ql)?://)", "give {url}"),
    (
        r".*:(?:\[your[-_ ]?password\]|[<{](?:your[-_ ]?)?password[>}])@",
        "put the password where its placeholder stands",
    ),
)

ENCODE = (
    "percent-encode what is reserved in a user or password, as urllib.parse.quote(it, safe='') "
    "does: @ is %40, : %3A, / %2F, ? %3F, # %23, % %25"
)


def _ambiguity_advice(rest: str, user: str, hosts: str, path: str) -> str:
    """Returns advice on a URL that can be read in two ways; empty for one that cannot."""
    if "#" in rest or "@" in user or (not user and ":" in hosts and "@" in path):
        return ENCODE
    if "%00" in rest:
        return "it holds %00, which PostgreSQL cannot take"
    ports = re.findall(r":([^:,\]]*)(?:,|$)", hosts)
    if not all(port.isdecimal() or not port for port in ports):
        where = "" if user else "; a password needs @host after it"
        return f"its port is no number{where}; {ENCODE}"
    return ""


_KEYWORD = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'?|(?:[^\s\\]|\\.)*)")


def _keywords_as_url(text: str) -> str:
    """Writes a string of keywords as a URL, without its password."""
    found = {
        name: re.sub(r"\\(.)", r"\1", value.strip("'")) for name, value in _KEYWORD.findall(text)
    }
    user, hosts = found.pop("user", ""), found.pop("host", "").split(",")
    password = ":***" if found.pop("password", "") else ""
    if password and not user:
        user = "user"
    ports, database = found.pop("port", "").split(","), found.pop("dbname", "")
    if len(ports) == 1:
        ports *= len(hosts)
    named = ",".join(
        quote(host, safe="") + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    )
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in found.items())
    at = f"{quote(user, safe='')}{password}@" if user else ""
    url = f"postgresql://{at}{named}/{quote(database, safe='')}{'?' if query else ''}{query}"
    return without_password(url)
