"""The stored instances: orders on their way through four steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import orjson

from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    Names,
    Serializer,
    Status,
)

SIZES = {"1kb": 1_000, "10kb": 10_000, "50kb": 50_000}
STEPS = ("Validate", "Reserve", "Charge", "Ship")
STAGES = len(STEPS)

_BEGAN = datetime(2025, 3, 1, 9, 30, 0, 137_000, tzinfo=UTC)


def order(number: int, stage: int, size: str, *, workflow: int = 0) -> Instance:
    """Order ``number`` with ``stage`` steps done, its state about as large as ``size`` says."""
    return build(number, stage, lines=_lines(size), workflow=workflow)


def build(
    number: int, stage: int, *, lines: int, entries: int | None = None, workflow: int = 0
) -> Instance:
    """An order of so many lines, with so many entries more in its history (one a line)."""
    done = STEPS[:stage]
    began = _BEGAN + timedelta(minutes=number)  # no two orders have a moment in common
    return Instance(
        id=f"order::{number:08x}",
        workflow=f"Shop.Orders.Fulfil{workflow}",
        status=Status.WAITING if number % 16 == 0 else Status.RUNNING,
        current_step=STEPS[stage],
        context=Context(
            initial={
                "order": number,
                "customer": {"id": number * 7919 % 100_003, "email": f"c{number}@example.org"},
                "currency": "EUR",
                "lines": [_line(each) for each in range(lines)],
            },
            steps={step: {"ok": True, "reference": f"{step}-{number}"} for step in done},
        ),
        active_steps=frozenset({STEPS[stage]}),
        completed_steps=frozenset(done),
        runtime_metadata={"worker": f"worker-{number % 8}", "attempt": stage + 1},
        execution_history=(
            *(_picked(each, began) for each in range(lines if entries is None else entries)),
            *(
                ExecutionEntry(step, "completed", began + timedelta(seconds=30 + index))
                for index, step in enumerate(done)
            ),
        ),
    )


@cache
def _lines(size: str) -> int:
    """How many lines bring a state to its size halfway through."""
    none, some = (len(text(build(0, 2, lines=lines))) for lines in (0, 100))
    return max(0, round((SIZES[size] - none) * 100 / (some - none)))


def text(instance: Instance) -> bytes:
    """The state as it is stored."""
    return orjson.dumps(Serializer(Names()).to_db(instance)[4])


@cache
def _line(number: int) -> dict[str, object]:
    return {
        "sku": f"SKU-{number:05d}",
        "quantity": number % 5 + 1,
        "price": round(3.5 + number * 1.25, 2),
        "attributes": {"colour": ("red", "green", "blue")[number % 3], "gift": number % 7 == 0},
    }


def _picked(number: int, began: datetime) -> ExecutionEntry:
    return ExecutionEntry(
        "Reserve",
        "picked",
        began + timedelta(milliseconds=number),
        {"sku": f"SKU-{number:05d}", "shelf": number % 40},
    )
