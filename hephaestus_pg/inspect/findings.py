"""The values that a look at the table gives, and how they are read from its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from hephaestus_pg.codec.timestamps import from_epoch, parse_due
from hephaestus_pg.values.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from asyncpg import Record

    from hephaestus_pg.execution.statistics import ProcessStats

StuckReason = Literal["exhausted", "orphaned", "unclaimed", "silent"]
"""The reason why an instance does not go on.

``exhausted``: too many attempts failed, and nobody is given it until it is written or released.
``orphaned``: its owner is dead, and no runner has taken over. ``unclaimed``: it can be claimed, and
nobody does. ``silent``: its owner lives, but has not written it; it may have been claimed long
after its last write.
"""


@dataclass(frozen=True, slots=True)
class Stuck:
    """An instance that does not go on, why, and since when (aware, UTC)."""

    summary: Summary
    reason: StuckReason
    since: datetime | None


class InstanceCount(NamedTuple):
    """The number of instances of a workflow in a status; estimated where it is not exact."""

    workflow: str
    status: str
    instances: int
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The table of a storage at one moment, and this process's part in it."""

    instances: tuple[InstanceCount, ...]
    """By workflow and status. Of a status with more than 5,000 instances they are estimates."""
    claimable_since: Mapping[str, datetime]
    """Since when the next instances wait to be claimed, by workflow; the oldest first.

    Of twenty that come next the one that waits for longest, since it was written or is due.
    """
    owned: int
    """Instances that a runner owns."""
    orphaned: int
    """Those of them whose runner is dead, so that another one is to take over."""
    exhausted: int
    """Instances that are given to nobody, after too many failed attempts."""
    process: ProcessStats
    """The pool, the calls and the batches of the storage in this process."""


def summary(row: Record) -> Summary:
    """Reads a row with the columns of ``row_summary.sql``."""
    due_at, runner = row["due_at"], row["runner"]
    return Summary(
        row["id"],
        row["workflow"],
        int(row["workflow_version"]),
        row["status"],
        row["current_step"],
        row["state_bytes"],
        int(row["revision"]),
        None if runner is None else UUID(runner),
        int(row["attempts"]),
        None if due_at is None else moment(due_at, parse_due),
        moment(row["inserted_at"]),
        moment(row["updated_at"]),
    )


def stuck(row: Record) -> Stuck:
    """Reads a row of ``stuck.sql``."""
    return Stuck(summary(row), row["reason"], moment(row["since"]))


def moment(seconds: str, read: Callable[[str], datetime | None] = from_epoch) -> datetime | None:
    """Reads a moment of a row, or ``None`` if Python knows no such moment.

    One odd row does not hide the others from whoever looks for it.
    """
    try:
        return read(seconds)
    except ValueError:
        return None
