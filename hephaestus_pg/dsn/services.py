"""The file of connection services: https://www.postgresql.org/docs/current/libpq-pgservice.html."""

from __future__ import annotations

import os
from pathlib import Path

from hephaestus_pg.dsn.libpq import at_home
from hephaestus_pg.errors import InvalidValueError


def read_service(name: str, file: str | None, field: str) -> dict[str, str]:
    """Reads the parameters of a service; errors name ``field``, where it was asked for.

    As libpq does, it looks in ``file``, else in ``PGSERVICEFILE``, else in
    ``~/.pg_service.conf``, and then in ``PGSYSCONFDIR``.

    Raises:
        InvalidValueError: There is no such service, or its file cannot be read.
    """
    looked: list[str] = []
    for path in _files(file):
        looked.append(str(path))
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InvalidValueError(
                field, name, f"the service file {path} cannot be read: {error}"
            ) from error
        found = _section(text, name, path)
        if found is not None:
            return found
    raise InvalidValueError(
        field,
        name,
        f"there is no such service: write [{name}] and what belongs to it into "
        f"{looked[0]}, or name another file in PGSERVICEFILE (looked for in {', '.join(looked)})",
    )


def _files(given: str | None) -> list[Path]:
    own = given or os.environ.get("PGSERVICEFILE")
    files = [Path(own) if own else at_home(".pg_service.conf")]
    if folder := os.environ.get("PGSYSCONFDIR"):
        files.append(Path(folder) / "pg_service.conf")
    return files


def _section(text: str, name: str, path: Path) -> dict[str, str] | None:
    """Reads the first section of that name, which is the one that libpq takes."""
    found: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{name}]":
                found = {}
            continue
        if found is None:
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key == "service" or key.startswith("ldap"):
            # The line is not shown: it may hold a password.
            raise InvalidValueError(
                "service", name, f"line {number} of {path} must be name=value, of no other service"
            )
        found[key] = value
    return found
