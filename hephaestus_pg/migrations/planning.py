"""The locks that a migration or a move takes, and how long it may take: told before it is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hephaestus_pg.migrations.results import DistributionPlan, PlannedStep

if TYPE_CHECKING:
    from hephaestus_pg.migrations.files import Migration
    from hephaestus_pg.migrations.results import Distribution, LockTime

ONLINE_ABOVE: Final = 64 * 2**20
"""The size of the table, in bytes, above which steps that have an online way take it unasked."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of a migration: its strictest lock on the table, for how long, and its work."""

    lock: str | None
    held: LockTime = "no time"
    rewrites: bool = False
    """Each row is written again."""
    row_microseconds: float = 0.0
    """Measured with 150,000 rows of 0.3 and 1.1 KB on two busy cores, in memory; idle
    ones take a quarter to a half."""


_EVERYBODY = "ACCESS EXCLUSIVE"

PLAIN: Final = {
    1: Way(None),  # the table is not there yet
    2: Way(_EVERYBODY, "all of it", row_microseconds=3),
    3: Way(_EVERYBODY, "all of it", rewrites=True, row_microseconds=50),
    4: Way(_EVERYBODY, "all of it", row_microseconds=10),
    5: Way(_EVERYBODY, "moments"),
    6: Way(_EVERYBODY, "all of it", row_microseconds=5),
}
"""By version, the ``.up`` file."""

ONLINE: Final = {
    3: Way(_EVERYBODY, "moments", rewrites=True, row_microseconds=250),
    4: Way(_EVERYBODY, "moments", row_microseconds=12),
    6: Way(_EVERYBODY, "moments", row_microseconds=20),
}
"""By version, the ``.online`` stages, and the ``.up`` that is left to do after them."""


def planned(migration: Migration, *, rows: int, online: bool) -> PlannedStep:
    """Returns the step that applies ``migration`` to a table of so many rows."""
    way = (ONLINE if online and migration.stages else PLAIN)[migration.version]
    return PlannedStep(
        version=migration.version,
        name=migration.name,
        online=online and bool(migration.stages),
        lock=way.lock,
        held=way.held,
        rewrites=way.rewrites,
        seconds=way.row_microseconds * rows / 1e6,
    )


# With 50,000 rows of 1.3 KB on two busy cores, in memory, with 16 writers and without.
_MOVE_MICROSECONDS: Final = 30
_ONLINE_MOVE_MICROSECONDS: Final = 110
_RETURN_MICROSECONDS: Final = 60


def planned_move(  # noqa: PLR0913 - the facts of a move
    schema: str,
    before: Distribution | None,
    after: Distribution | None,
    *,
    rows: int,
    size: int,
    online: bool,
) -> DistributionPlan:
    """Returns the plan of a move; ``online`` counts where there is such a way."""
    plan = DistributionPlan(schema, before, after, rows, size)
    if before == after:
        return plan
    online = online and after is not None and after.by == "id"
    each = _ONLINE_MOVE_MICROSECONDS if online else _MOVE_MICROSECONDS
    if after is None:
        each = _RETURN_MICROSECONDS
    held: LockTime = "moments" if online else "all of it"
    return replace(plan, online=online, held=held, seconds=each * rows / 1e6)
