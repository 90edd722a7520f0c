"""The text of a DSN: what is one, its hosts and parameters, and what to type instead of what isn't.

No message here, nor the value of an error, shows a password.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from hephaestus_pg.dsn.hosts import LIST_OF_HOSTS, host_in
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

URL = "postgresql://user:password@host:port/database"


class Url(NamedTuple):
    """A DSN in its parts: the hosts with the ports that stand at them, and all else by name."""

    hosts: list[tuple[str, str]]
    parameters: dict[str, str]


def shown(dsn: str) -> str:
    """A DSN as it may stand in a message, whatever its password is written like."""
    if "@" in dsn:
        dsn = _BEFORE_HOST.sub(r"\1***", dsn)
    elif "://[" not in dsn:
        dsn = _NO_PORT.sub(r"\1***", dsn)
    return without_password(dsn)


# A user, and what may be a password, which need not be encoded as it should.
_BEFORE_HOST = re.compile(r"(://[^:@/?]*:).*(?=@)", re.DOTALL)
# With no host after it a password stands where a port would.
_NO_PORT = re.compile(r"(://[^:/?]*:)(?!\d*(?:[,/?]|$))[^/?]*")


def text_of(dsn: Any) -> str:
    """The DSN as text, of any object whose ``str`` is the DSN.

    Raises:
        InvalidTypeError: It is none.
        InvalidValueError: It hides its password.
    """
    if isinstance(dsn, str):
        return str.__str__(dsn)
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


def url_of(text: str, origin: str = "") -> Url:
    """The parts of a DSN; ``origin`` is said of one that is none.

    Raises:
        InvalidValueError: It is none, or could be read in two ways; it says what to type.
    """
    wrong = _strange(text)
    rest = text.partition("://")[2]
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    user, _, hosts = authority.rpartition("@")
    found = [host_in(host, encoded=True) for host in hosts.split(",")] if hosts else []
    wrong = wrong or _ambiguous(rest, user, hosts, path)
    wrong = wrong or (LIST_OF_HOSTS if None in found else "")
    parameters: dict[str, str] = {}
    name, _, password = user.partition(":")
    try:
        given = [("user", unquote(name, errors="strict"))]
        given += [("password", unquote(password, errors="strict"))]
        given += [("dbname", unquote(path[1:], errors="strict"))]
        for part in filter(None, query.split("&")):
            name, equals, value = (unquote_plus(each) for each in part.partition("="))
            if not equals:
                wrong = wrong or "its query must be name=value, each after ? or &"
            elif name in {"database", "dbname", "user", "password"}:
                # What stands before the query comes first, as with asyncpg.
                given.insert(0, ("dbname" if name == "database" else name, value))
            else:
                given.append((name, value))
    except UnicodeDecodeError:
        wrong = wrong or "what is percent-encoded in it must be UTF-8"
    if wrong:
        raise InvalidValueError("dsn", shown(text), wrong + origin)
    parameters.update((name, value) for name, value in given if value)
    if parameters.get("password") and not parameters["password"].strip("*"):
        raise InvalidValueError(
            "dsn",
            shown(text),
            "its password is ***, which is how it is hidden: give the text with the password itself"
            f", which SQLAlchemy has as url.render_as_string(hide_password=False){origin}",
        )
    return Url([host for host in found if host], parameters)


def _strange(text: str) -> str:
    """What is to be taken away, or written otherwise, so that the text is a URL of PostgreSQL's."""
    if not text:
        return (
            "it is empty: give one, or leave it out for HEPHAESTUS_PG_DSN, else the PG* variables"
        )
    for pattern, advice in _SHAPES:
        if found := re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return advice.format(*found.groups(), url=URL, as_url=_as_url(text))
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


def _ambiguous(rest: str, user: str, hosts: str, path: str) -> str:
    """What keeps it from being read in one way alone."""
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


def _as_url(text: str) -> str:
    """A string of keywords as the URL that says the same, without its password."""
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


# What stands before an @ in a URL, or in what was meant for one: a user and a password, which need
# not be encoded as they should. Then password=… in a query, a keyword string or the environment.
_PASSWORD = re.compile(
    r"""(://[^:\s]*:)(?:\S*|(?!\d+\s)[^/\n]*)(?=@)"""
    r"""|(^[^:\s]*:(?!//))\S*(?=@)"""
    r"""|((?:password|scram_(?:client|server)_key|client_secret|api_key)["']?\s*[=:]\s*)"""
    r"""(?:'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|(?:[^&\s\\]|\\.)+)""",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """``text`` with the password of every DSN in it replaced by ``***``."""
    return _PASSWORD.sub(lambda found: f"{found[found.lastindex or 0]}***", text)
