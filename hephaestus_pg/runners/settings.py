"""The settings of a runner, checked, and what others see of one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hephaestus_pg._checks import is_number
from hephaestus_pg.codec.timestamps import from_epoch
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.execution.lifecycle import LONGEST_TIMEOUT
from hephaestus_pg.values.arguments import listed, unstorable, whole_number
from hephaestus_pg.values.instance import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from typing import Self

    from asyncpg import Record

    from hephaestus_pg.values.instance import Instance

SHORTEST_LEASE = 1.0
"""Seconds: a shorter lease would end by itself on a busy machine."""

MOST_ATTEMPTS = 1000
"""The largest ``max_attempts``: each claim that fails sends as many delays."""


def backoff(attempts: int) -> float:
    """Seconds to wait after so many failed attempts: 2, 4, 8 … and five minutes at the most."""
    return float(min(2 ** min(attempts, 9), 300))


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """A runner that lives, of any process."""

    token: UUID
    name: str
    workflows: tuple[str, ...]
    """The names of the workflows that it can run."""
    started_at: datetime
    expires_at: datetime
    """When its lease ends, unless a heartbeat comes before."""
    owned: int
    """How many instances it owns."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a runner, checked."""

    name: str
    workflows: tuple[str, ...]
    lease: float
    max_stall: float
    delays: tuple[float, ...]
    """Seconds to wait after the first failed attempt, the second, and so on but the last."""

    @classmethod
    def checked(  # noqa: PLR0913 - as storage.runner
        cls,
        to_name: Callable[[Any], str],
        *,
        workflows: Iterable[Any],
        name: str,
        lease: float,
        max_attempts: int,
        retry_after: Callable[[int], float],
        max_stall: float,
    ) -> Self:
        """Checks what was given to ``storage.runner``.

        Raises:
            InvalidTypeError: Something is of the wrong type.
            InvalidValueError: Something is out of its range.
        """
        if not isinstance(name, str) or not name:
            raise InvalidTypeError("name", name, "give the runner a name")
        if reason := unstorable(name):
            raise InvalidValueError("name", name, reason)
        names = sorted({to_name(each) for each in listed("workflows", workflows, "workflows")})
        if not names:
            raise InvalidValueError("workflows", workflows, "name what the runner can run")
        _checked_seconds("lease", lease, SHORTEST_LEASE)
        _checked_seconds("max_stall", max_stall, SHORTEST_LEASE)
        whole_number("max_attempts", max_attempts, MOST_ATTEMPTS)
        if not callable(retry_after):
            raise InvalidTypeError("retry_after", retry_after, "give a function of a number")
        delays = [
            _checked_seconds("retry_after", retry_after(attempt), 0.0)
            for attempt in range(1, max_attempts)
        ]
        return cls(name, tuple(names), float(lease), float(max_stall), tuple(delays))

    def require_ownable(self, instance: Instance, *, workflow: str) -> None:
        """Refuses a new instance, of the workflow of that name, that the runner cannot own."""
        if instance.status not in KEPT:
            raise InvalidValueError("status", instance.status, "insert what is pending or running")
        if workflow not in self.workflows:
            advice = f"the runner {self.name!r} runs {', '.join(self.workflows)}"
            raise InvalidValueError("workflow", instance.workflow, advice)


def _checked_seconds(field: str, value: Any, least: float) -> float:
    if not is_number(value):
        raise InvalidTypeError(field, value, "give a number of seconds")
    if not least <= value <= LONGEST_TIMEOUT or math.isnan(value):
        raise InvalidValueError(
            field, value, f"give from {least:g} to {LONGEST_TIMEOUT:,.0f} seconds"
        )
    return float(value)


def runner_info(row: Record) -> RunnerInfo:
    """Reads a row of ``runners.sql``."""
    started_at, expires_at = from_epoch(row["started_at"]), from_epoch(row["expires_at"])
    assert started_at is not None
    assert expires_at is not None
    return RunnerInfo(
        UUID(row["token"]),
        row["name"],
        tuple(json.loads(row["workflows"])),
        started_at,
        expires_at,
        int(row["owned"]),
    )


def delays_text(delays: Iterable[float]) -> str:
    """Writes the seconds to wait after each failed attempt, as ``fail.sql`` takes them."""
    return ",".join(map(str, delays))
