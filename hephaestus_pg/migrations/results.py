"""Results of migrations, and the state of a schema: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

Profile = Literal["full", "initial", "none"]
"""The part of a state that is indexed: all of it, the initial context, or nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that was applied, or reverted."""

    version: int
    name: str
    seconds: float
    online: bool = False
    notes: tuple[str, ...] = ()
    """Remarks of the step, such as that ids stayed text."""


LockTime = Literal["no time", "moments", "all of it"]
"""For how much of a step's time its strictest lock is held."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One migration that would be applied, and what that would mean for readers and writers."""

    version: int
    name: str
    online: bool
    lock: str | None
    """The strictest lock on the table, by PostgreSQL's name; ``None`` if there is no table yet."""
    held: LockTime
    rewrites: bool
    """Each row is written again, so that the table may take twice its room meanwhile."""
    seconds: float
    """About how long, going by the number of rows and by what one took where it was measured."""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The steps that ``up`` would take."""

    schema: str
    from_version: int
    steps: tuple[PlannedStep, ...]
    rows: int
    """The rows of the table, estimated."""
    bytes: int
    """The bytes of the table, without its indexes."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """The outcome of ``up`` or ``down``."""

    schema: str
    from_version: int
    to_version: int
    steps: tuple[Step, ...]
    seconds: float
    adopted: int | None = None
    """The version at which a database without a version table was taken over."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexResult:
    """The outcome of a change of profile."""

    schema: str
    before: Profile
    after: Profile
    seconds: float
    rewritten: int = 0
    """The bytes of the table, if it was rewritten; nobody could use it meanwhile."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the recorded versions left it.

    ``mend``: what to run. ``serious``: until then nothing can be written.
    """

    what: str
    mend: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """The way in which Citus keeps the table of instances."""

    by: Literal["id", "schema", "another column", "reference", "local"]
    """``id``: each id's shard follows from it. ``schema``: in one shard, with the other tables of
    its schema. ``local``: on the coordinator alone, as after a run that was interrupted. The others
    are no ways of ours."""
    shards: int

    def __str__(self) -> str:
        match self.by:
            case "id" | "another column":
                return f"by {self.by}, in {self.shards} shards"
            case "schema":
                return "by schema, in one shard"
            case "reference":
                return "as a reference table, on every node"
            case "local":
                return "not, but known to Citus (a local table)"


@dataclass(frozen=True, slots=True)
class DistributionPlan:
    """The move that ``distribute`` or ``undistribute`` would make, and the obstacles to it."""

    schema: str
    before: Distribution | None
    after: Distribution | None
    """The same as ``before`` if there is nothing to do."""
    rows: int
    """The rows of the table, estimated."""
    bytes: int
    """The bytes of the table, without its indexes."""
    online: bool = False
    """Readers and writers go on while the rows are copied."""
    held: LockTime = "no time"
    """For how much of the time nobody can read or write the tables."""
    seconds: float = 0.0
    """About how long, going by the number of rows and by what one took where it was measured."""
    obstacles: tuple[Difference, ...] = ()
    """What has to be done first."""


@dataclass(frozen=True, slots=True)
class DistributionResult:
    """The outcome of ``distribute`` or ``undistribute``."""

    schema: str
    before: Distribution | None
    after: Distribution | None
    seconds: float
    online: bool = False
    """Readers and writers went on while the rows were copied."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration, and its state in a schema.

    ``changed``: its file is not the one that was applied. ``unknown``: a newer release applied it.
    ``missing``: it was applied, and what it made is gone since.
    """

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "unknown", "missing"]
    applied_at: datetime | None
    """The time of its record; ``None`` if it is pending, or HephaestusEcto's without a record."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The state of a schema: its version, every migration, and what differs."""

    schema: str
    version: int
    migrations: tuple[MigrationStatus, ...]
    index: Profile | None = None
    """The index over states, which ``migrations.index`` exchanges; ``None`` without a table."""
    distribution: Distribution | None = None
    """How Citus keeps the table; ``None`` if it does not know it."""
    differences: tuple[Difference, ...] = ()
    """Differences from what the applied versions left, each with its fix."""
    notes: tuple[str, ...] = ()
    exists: bool = True
    """False if there is no schema of that name."""

    @property
    def pending(self) -> tuple[MigrationStatus, ...]:
        """The migrations that ``up`` would apply."""
        return tuple(each for each in self.migrations if each.state in {"pending", "missing"})
