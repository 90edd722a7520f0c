"""The demo's promises, checked against the acknowledged steps, the work done and the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg import (
    Instance,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Named again on purpose: a check that imports what it checks proves less.
STEPS = frozenset({"Reserve", "Charge", "Pack", "Collect", "Notify"})


class Work(NamedTuple):
    """One run of a step: a line of the ledger, or a runner's acknowledgement."""

    order_id: str
    step: str
    runner: int
    receipt: str
    revision: int
    """The order's: in the ledger as its runner had read it, acknowledged as its runner wrote it."""

    def __str__(self) -> str:
        return f"{self.step} of {self.order_id} by runner {self.runner}"


class Check(NamedTuple):
    """A promise, with the evidence against it; none if it was kept."""

    promise: str
    against: list[str]


def checks(
    orders: Sequence[Instance],
    ledger: Iterable[Work],
    acknowledged: Sequence[Work],
    lost_at_a_kill: Iterable[Work] = (),
) -> list[Check]:
    """Checks each promise."""
    unfinished = [order.id for order in orders if not _is_complete(order)]
    gone = {*lost_at_a_kill, *lost(acknowledged, orders)}
    return [
        Check("every instance completed", unfinished),
        Check("no acknowledged step lost", sorted(map(str, gone))),
        Check("no step acknowledged twice", list(map(str, acknowledged_again(acknowledged)))),
        Check("no acknowledged step run again", list(map(str, run_again(acknowledged, ledger)))),
    ]


def _is_complete(order: Instance) -> bool:
    return order.status is Status.COMPLETED and order.context.steps.keys() == STEPS


def lost(acknowledged: Iterable[Work], orders: Iterable[Instance]) -> list[Work]:
    """Returns the acknowledged steps whose very result is missing from the stored orders."""
    stored = {
        (order.id, step, result["receipt"])
        for order in orders
        for step, result in order.context.steps.items()
    }
    return [work for work in acknowledged if (work.order_id, work.step, work.receipt) not in stored]


def acknowledged_again(acknowledged: Sequence[Work]) -> list[Work]:
    """Returns the acknowledgements of steps that were acknowledged before."""
    first = _first(acknowledged)
    return [work for work in acknowledged if work is not first[work.order_id, work.step]]


def run_again(acknowledged: Sequence[Work], ledger: Iterable[Work]) -> list[Work]:
    """Returns the work in the ledger whose runner knew that its step was done.

    A runner knew if it had acknowledged the step itself, or had read the order after the step was
    recorded. Without that knowledge a step may be run again: after a kill that came before the
    step was recorded, and by several runners at once, of which one records it.
    """
    recorded = _first(acknowledged)
    return [
        work
        for work in ledger
        if (first := recorded.get((work.order_id, work.step)))
        and work.receipt != first.receipt
        and (work.runner == first.runner or work.revision >= first.revision)
    ]


def _first(acknowledged: Sequence[Work]) -> dict[tuple[str, str], Work]:
    return {(work.order_id, work.step): work for work in reversed(acknowledged)}
