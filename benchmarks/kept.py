"""A table as a service keeps it: nearly all of it finished, ids at random, forty workflows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING
from uuid import UUID

from benchmarks.filling import INSERTED_AT, Rows
from benchmarks.states import build
from hephaestus_pg import Status

if TYPE_CHECKING:
    from random import Random

    from hephaestus_pg import Instance

WORKFLOWS = 40

ROWS = Rows(
    id="'order::' || md5(n::text)::uuid",
    workflow=f"'Shop.Orders.Fulfil' || n % {WORKFLOWS}",
    status=f"""
    CASE
        WHEN n >= $2 - ($2 - $1) / 100
            THEN (ARRAY['pending', 'running', 'waiting', 'running'])[1 + n / {WORKFLOWS} % 4]
        WHEN n % 200 = 7 THEN 'failed'
        ELSE 'completed'
    END""",
    updated_at=f"{INSERTED_AT} + interval '1 second'",
)
"""The newest hundredth of what a fill inserts is active. A row a second, finished in the next."""

_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_NEVER_FILLED = 1_000_000_000


def id(number: int) -> str:
    """The id of the row of that number: an order's business key with a UUID."""
    digest = md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return f"order::{UUID(digest)}"


def workflow(number: int) -> str:
    """The workflow of the row of that number."""
    return f"Shop.Orders.Fulfil{number % WORKFLOWS}"


def inserted_at(number: int) -> datetime:
    """The moment at which the row of that number was inserted."""
    return _BEGAN + timedelta(seconds=number)


def any_of(rows: int, chosen: Random) -> int:
    """A number anywhere in a table of so many rows, but for the oldest, which may be pruned."""
    return chosen.randrange(rows // 20, rows)


def active_of(rows: int, chosen: Random) -> int:
    """A number of the newest, which are active."""
    return chosen.randrange(rows - rows // 200, rows)


def order(number: int, stage: int, status: Status = Status.RUNNING) -> Instance:
    """The order of that number, with ``stage`` steps done."""
    return replace(
        build(number, stage, lines=1), id=id(number), workflow=workflow(number), status=status
    )


def new(number: int) -> Instance:
    """An order that has just been placed, and that no fill inserts."""
    return order(_NEVER_FILLED + number, 0, Status.PENDING)
