"""A row without its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Summary:
    """A row without its state. Names are those in the table: no class has to be known.

    ``state_bytes`` are those that the state takes in the table, compressed if it is. Moments are
    aware, in UTC; a ``due_at`` of ``None`` with ``attempts`` above 0 may also mean "never", and any
    that is outside the years 1 to 9999 is ``None``.
    """

    id: str
    workflow: str
    workflow_version: int
    status: str
    current_step: str | None
    state_bytes: int
    revision: int
    runner: UUID | None
    attempts: int
    due_at: datetime | None
    inserted_at: datetime | None
    updated_at: datetime | None
