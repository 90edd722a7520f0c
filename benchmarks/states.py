"""The stored instances: orders on their way through four steps, as a runner leaves them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    Names,
    Serializer,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = ("Validate", "Reserve", "Charge", "Ship")
STAGES = len(STEPS)
HALFWAY = 2
"""The stage at which a state has the size and the history that its shape says."""

_BEGAN = datetime(2025, 3, 1, 9, 30, 0, 137_000, tzinfo=UTC)
_USUAL_ENTRIES = 5

_CONFIGS = {
    "Charge": {"provider": "acme", "timeout_ms": 30_000, "retries": 3},
    "Ship": {"carrier": "post", "insured": True},
}


class Shape(NamedTuple):
    """The lines of an order, and the entries of its history halfway through."""

    lines: int
    entries: int


def order(number: int, stage: int, size: str, *, workflow: int = 0) -> Instance:
    """Order ``number`` with ``stage`` steps done, its state of a size in :data:`SIZES`."""
    lines, entries = shape(size)
    return build(number, stage, lines=lines, entries=entries, workflow=workflow)


def build(
    number: int, stage: int, *, lines: int, entries: int = _USUAL_ENTRIES, workflow: int = 0
) -> Instance:
    """An order of so many lines, with so many entries in its history halfway through, or none."""
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
            steps={step: _result(step, number) for step in done},
        ),
        step_configs=_CONFIGS,
        active_steps=frozenset({STEPS[stage]}),
        completed_steps=frozenset(done),
        runtime_metadata={"worker": f"worker-{number % 8}", "attempt": stage + 1},
        execution_history=tuple(_history(number, stage, began, entries)) if entries else (),
    )


def _history(number: int, stage: int, began: datetime, entries: int) -> Iterator[ExecutionEntry]:
    """What happened so far; about every second entry changed the context."""
    yield ExecutionEntry("Validate", "accepted", began, {"channel": "web", "priority": number % 3})
    yield ExecutionEntry("Validate", "claimed", began + timedelta(milliseconds=41))
    for each in range(entries - _USUAL_ENTRIES):
        yield ExecutionEntry(
            "Reserve",
            "polled" if each % 2 else "picked",
            began + timedelta(milliseconds=50 + each),
            None if each % 2 else {"sku": f"SKU-{each:05d}", "shelf": each % 40},
        )
    for at, step in enumerate(STEPS[:stage]):
        moment = began + timedelta(seconds=30 + at, microseconds=number % 1000)
        yield ExecutionEntry(step, "completed", moment, _result(step, number))
    yield ExecutionEntry(STEPS[stage], "started", began + timedelta(seconds=40 + stage))


def _result(step: str, number: int) -> dict[str, Any]:
    return {"ok": True, "reference": f"{step}-{number}"}


@cache
def _line(number: int) -> dict[str, object]:
    return {
        "sku": f"SKU-{number:05d}",
        "quantity": number % 5 + 1,
        "price": round(3.5 + number * 1.25, 2),
        "attributes": {"colour": ("red", "green", "blue")[number % 3], "gift": number % 7 == 0},
    }


_BYTES = {"1kb": 1_300, "10kb": 10_000, "50kb": 50_000}
_HISTORIES = {"no-history": 0, "history-20": 20, "history-200": 200}

SIZES = (*_BYTES, *_HISTORIES)
"""The usual state, with five entries in its history, and larger ones, about half of them history;
then the usual one with another history."""


@cache
def shape(size: str) -> Shape:
    """The shape of a size: the larger ones have an entry for each of their lines."""
    if size in _HISTORIES:
        return Shape(shape("1kb").lines, _HISTORIES[size])
    return of_bytes(_BYTES[size], grows=size != "1kb")


def of_bytes(size: int, *, grows: bool = True) -> Shape:
    """The shape of a state of so many bytes, whose history ``grows`` by an entry a line."""
    few, many = (Shape(lines, _USUAL_ENTRIES + grows * lines) for lines in (0, 100))
    none, some = (len(text(build(0, HALFWAY, **at._asdict()))) for at in (few, many))
    lines = round((size - none) * 100 / (some - none))
    return Shape(lines, _USUAL_ENTRIES + grows * lines)


def text(instance: Instance) -> bytes:
    """The state as it is stored."""
    return orjson.dumps(Serializer(Names()).to_db(instance)[4])
