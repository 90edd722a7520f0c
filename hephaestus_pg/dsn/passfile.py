"""The file of passwords: https://www.postgresql.org/docs/current/libpq-pgpass.html.

asyncpg reads it too, but sends a backslash that escapes, and stops at a line that is no entry
(MagicStack/asyncpg#1249).
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hephaestus_pg.dsn.libpq import at_home
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hephaestus_pg")

# Host, port, database, user and password; a backslash escapes the colon or backslash after it.
_ENTRY = re.compile(r"((?:\\.|[^\\:])*):" * 4 + "(.*)")


def check_passfile(path: str, field: str) -> None:
    """Checks that a password file which is named can be used, as libpq would only warn.

    Raises:
        InvalidValueError: It cannot be read, or others may read it.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the file may be a device
        if not stat.S_ISREG(mode):
            return  # such as /dev/null, for no file at all
        with open(path, "rb"):  # noqa: PTH123
            pass
    except OSError as error:
        raise InvalidValueError(field, path, f"it cannot be read: {error.strerror}") from error
    if _is_open(mode):
        raise InvalidValueError(field, path, f"others may read it: chmod 600 {path}")


def stored_password(options: Mapping[str, Any]) -> str:
    """Returns the password that the file has for asyncpg's ``options``; empty without one."""
    named = options.get("passfile") or os.environ.get("PGPASSFILE")
    path = Path(named) if named else _default_path()
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return ""
        if _is_open(mode):
            logger.warning("others may read %s, so that it is left out: chmod 600 %s", path, path)
            return ""
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # there is none: most need none
    host, port = str(options.get("host", "/")), options.get("port") or os.environ.get("PGPORT")
    user = options.get("user") or os.environ.get("PGUSER") or getpass.getuser()
    database = options.get("database") or os.environ.get("PGDATABASE") or user
    hosts = {host, "localhost"} if host.startswith("/") else {host}
    wanted = (hosts, {str(port or 5432)}, {database}, {user})
    for line in text.splitlines():
        found = None if line.startswith("#") else _ENTRY.fullmatch(line)
        if found is None:
            continue
        *fields, password = (re.sub(r"\\(.)", r"\1", field) for field in found.groups())
        if all(
            field == "*" or field in values for field, values in zip(fields, wanted, strict=True)
        ):
            return password
    return ""


def _is_open(mode: int) -> bool:
    return os.name != "nt" and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def _default_path() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", "")) / "postgresql" / "pgpass.conf"
    return at_home(".pgpass")
