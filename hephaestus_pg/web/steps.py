"""The steps of an instance with the time that each has taken, drawn from its history."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from hephaestus_pg.values.instance import Status

if TYPE_CHECKING:
    from datetime import datetime

    from hephaestus_pg.values.instance import ExecutionEntry, Instance

Progress = Literal["done", "active", "waiting"]


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and its place in the time of its instance, in percent."""

    name: str
    progress: Progress
    took: timedelta | None
    """``None``: the history does not tell."""
    left: float = 0.0
    width: float = 0.0


def steps(instance: Instance, now: datetime) -> list[Step]:
    """The steps that the instance names, in the order in which the history has them.

    A step lasts from its first entry to its last; one with a single entry from the entry before it,
    whichever step that is of. An active step lasts until ``now``, or the end of its instance.
    """
    done, active = instance.completed_steps, set(instance.active_steps)
    if instance.current_step is not None:
        active.add(instance.current_step)
    active -= done
    entries: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(instance.execution_history):
        entries[entry.step_ref].append(place)
    names = dict.fromkeys([*entries, *sorted(done), *sorted(active), *instance.step_configs])
    end = now if instance.status in Status.ACTIVE else instance.updated_at or now
    spans = {
        name: _span(instance, entries[name], end if name in active else None) for name in names
    }
    known = [span for span in spans.values() if span is not None]
    first = min((began for began, _ in known), default=now)
    whole = max((ended - first for _, ended in known), default=timedelta()) or timedelta(seconds=1)

    def step(name: str) -> Step:
        progress: Progress = "done" if name in done else "active" if name in active else "waiting"
        if (span := spans[name]) is None:
            return Step(name, progress, None)
        began, ended = span
        left, width = 100 * (began - first) / whole, 100 * (ended - began) / whole
        return Step(name, progress, ended - began, min(left, 99.0), max(width, 1.0))

    return [step(name) for name in names]


def waits(instance: Instance) -> list[tuple[ExecutionEntry, timedelta | None]]:
    """The history, each entry with the time since the one before it."""
    history = instance.execution_history
    after = [later.timestamp - earlier.timestamp for earlier, later in pairwise(history)]
    return list(zip(history, [None, *after], strict=False))


def _span(
    instance: Instance, places: list[int], end: datetime | None
) -> tuple[datetime, datetime] | None:
    """When a step with its entries at these places began and ended, which is ``end`` if given."""
    history = instance.execution_history
    if not places and end is None:
        return None
    before = places[0] if places else len(history)
    if len(places) > 1 or (places and end is not None):
        began = history[places[0]].timestamp
    elif before > 0:
        began = history[before - 1].timestamp
    else:
        began = instance.inserted_at or history[places[0]].timestamp
    ended = history[places[-1]].timestamp if end is None else end
    return began, max(began, ended)  # the moments are of the clocks of those who wrote them
