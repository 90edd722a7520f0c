"""What a migration run did, and how a schema stands: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from hephaestus_pg.migrations.profiles import Profile
    from hephaestus_pg.migrations.state import Difference


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that was applied, or taken back."""

    version: int
    name: str
    seconds: float
    online: bool = False
    notes: tuple[str, ...] = ()
    """What the step has to say, such as that ids stayed text."""


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a run did."""

    schema: str
    from_version: int
    to_version: int
    steps: tuple[Step, ...]
    seconds: float
    adopted: int | None = None
    """The version at which a database without a version table was taken over."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration, and how it stands with a schema.

    ``changed``: its file is not the one that was applied. ``unknown``: a newer release applied it.
    ``missing``: it was applied, and what it made is gone since.
    """

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "unknown", "missing"]
    applied_at: datetime | None
    """When it was recorded; ``None`` if it is pending, or HephaestusEcto's and not recorded yet."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """How a schema stands."""

    schema: str
    version: int
    migrations: tuple[MigrationStatus, ...]
    index: Profile | None = None
    """The index over states, which ``migrations.index`` exchanges; ``None`` without a table."""
    differences: tuple[Difference, ...] = ()
    """What is not as the applied versions left it, each with what mends it."""
    notes: tuple[str, ...] = ()
    exists: bool = True
    """Whether there is such a schema at all."""

    @property
    def pending(self) -> tuple[MigrationStatus, ...]:
        """What ``up`` would apply."""
        return tuple(each for each in self.migrations if each.state in {"pending", "missing"})
