"""The migrations as files: a complete set, or an error.

A migration is ``NNN_name.up.sql`` and ``NNN_name.down.sql`` in ``sql/migrations/``. For large
tables it may have an online way, which keeps readers and writers going: stages
``NNN_name.online.K.<kind>.sql`` come first, and ``NNN_name.online.up.sql`` takes the place of the
plain ``up`` where the stages leave less to do. ``NNN_name.before.sql`` is run before the ``up``, in
its transaction; it holds what was found out after the ``up`` had been released, since a released
``up`` may not change. ``NNN_name.distributed.up.sql`` takes the place of all of them for a table
that Citus has distributed, and that refuses the plain ``up``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg._checks import is_int
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, MigrationFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# transaction: the file is one transaction. chunked: a statement that is run until it returns no
# key, each time in a transaction. no_transaction: a statement that PostgreSQL refuses in a
# transaction, or that takes too long for one.
StageKind = Literal["transaction", "chunked", "no_transaction"]

_FILE = re.compile(
    r"(?P<version>\d{3})_(?P<name>[a-z][a-z0-9_]*)\."
    r"(?P<part>before|up|down|online\.up|distributed\.up|(?P<stage>online\.\d\."
    r"(?:transaction|chunked|no_transaction)))\.sql"
)
_INDEX = re.compile(r"INDEX (?:CONCURRENTLY )?IF NOT EXISTS (\w+)")
_MARKER = re.compile(r"/\*.*?\*/", re.DOTALL)


class Stage(NamedTuple):
    """One statement, or one transaction, of a change that is made in several."""

    kind: StageKind
    text: str


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration, as its files have it; the texts still carry the schema's marker."""

    version: int
    name: str
    up: str
    down: str
    stages: tuple[Stage, ...] = ()
    online_up: str | None = None
    before: str = ""
    distributed_up: str | None = None

    @property
    def checksum(self) -> str:
        """The SHA-256 of ``up``, which tells a file that was changed; line ends do not count."""
        return hashlib.sha256(self.up.encode()).hexdigest()


@cache
def shipped() -> tuple[Migration, ...]:
    """Reads the migrations of this package, by version.

    Raises:
        MigrationFileError: The set is not complete.
    """
    return load(_sql.root() / "migrations")


def load(folder: Path) -> tuple[Migration, ...]:
    """Reads the migrations in ``folder``, by version.

    Raises:
        MigrationFileError: A name that is not a migration's, a version twice or left out, an up
            without its down, a marker that nothing replaces.
    """
    versions: dict[int, dict[str, str]] = {}
    names: dict[int, str] = {}
    for path in sorted(folder.glob("*.sql")):
        found = _FILE.fullmatch(path.name)
        if not found:
            raise MigrationFileError(f"{path.name} is not named NNN_name.up.sql or .down.sql")
        version, name = int(found["version"]), found["name"]
        if names.setdefault(version, name) != name:
            raise MigrationFileError(
                f"two migrations have the number {version}: {names[version]} and {name}"
            )
        text = path.read_text(encoding="utf-8")
        _check_markers(path.name, text, may_include=bool(found["stage"]))
        versions.setdefault(version, {})[found["part"]] = text
    if sorted(versions) != list(range(1, len(versions) + 1)) or not versions:
        raise MigrationFileError(
            f"migrations are numbered from 1 without a gap; found {sorted(versions)}"
        )
    return tuple(_migration(number, names[number], versions[number]) for number in sorted(versions))


def _check_markers(file: str, text: str, *, may_include: bool) -> None:
    # Only a stage may include another file: the checksum of an up is to cover all that it runs.
    replaced = (_sql.rendered if may_include else _sql.in_schema)(text, "public")
    if marker := _MARKER.search(replaced):
        raise MigrationFileError(f"{file} has a marker that nothing replaces: {marker[0]}")


def _migration(version: int, name: str, parts: Mapping[str, str]) -> Migration:
    for part in ("up", "down"):
        if part not in parts:
            raise MigrationFileError(f"{version:03}_{name}.{part}.sql is missing")
    stages = [(part.split("."), text) for part, text in sorted(parts.items())]
    return Migration(
        version=version,
        name=name,
        up=parts["up"],
        down=parts["down"],
        stages=tuple(
            Stage(part[2], text)  # type: ignore[arg-type]  # _FILE lets only a StageKind through
            for part, text in stages
            if len(part) == 3  # noqa: PLR2004 - online, its number, its kind
        ),
        online_up=parts.get("online.up"),
        before=parts.get("before", ""),
        distributed_up=parts.get("distributed.up"),
    )


def stages_in(folder: str, name: str) -> tuple[Stage, ...]:
    """Reads the stages ``sql/<folder>/<name>.K.<kind>.sql``, in their order."""
    paths = sorted((_sql.root() / folder).glob(f"{name}.*.sql"))
    return tuple(
        Stage(path.name.split(".")[2], path.read_text(encoding="utf-8"))  # type: ignore[arg-type]
        for path in paths
    )


@cache
def index_names() -> tuple[str, ...]:
    """Reads the names of the indexes that migrations and profiles make."""
    folders = (_sql.root() / "migrations", _sql.root() / "profiles")
    texts = [path.read_text(encoding="utf-8") for of in folders for path in of.glob("*.sql")]
    return tuple(sorted({name for text in texts for name in _INDEX.findall(text)}))


def checked_version(field: str, version: int | None, *, default: int | None, low: int) -> int:
    """Returns ``version``, or the default for ``None``, if it is from ``low`` to the latest.

    Raises:
        InvalidTypeError: It is not a number.
        InvalidValueError: It is another number.
    """
    if version is None and default is not None:
        return default
    if not is_int(version):
        raise InvalidTypeError(field, version, "give a version's number")
    latest = _sql.latest_version()
    if not low <= version <= latest:
        raise InvalidValueError(field, version, f"give a version from {low} to {latest}")
    return version
