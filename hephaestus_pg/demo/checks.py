"""The demo's promises, checked against the acknowledged steps, the work done and the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg import Instance, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from hephaestus_pg.demo.witness import Ledger, Work

# Named again on purpose: a check that imports what it checks proves less.
STEPS = frozenset({"Reserve", "Charge", "Pack", "Collect", "Notify"})

TWO_OWNERS = "no step run by two owners at once"


class Check(NamedTuple):
    """A promise, with the evidence against it; none if it was kept."""

    promise: str
    against: list[str]


def checks(
    orders: Sequence[Instance],
    ledger: Ledger,
    acknowledged: Sequence[Work],
    *,
    lost_at_a_kill: Iterable[Work] = (),
    ended: Collection[int] = (),
) -> list[Check]:
    """Checks each promise.

    Args:
        orders: As they are stored at the end.
        ledger: The witness's.
        acknowledged: The steps whose recording has returned to their runner.
        lost_at_a_kill: Acknowledged steps that were not in the table after one.
        ended: The runners that were killed, or whose lease has ended.
    """
    against: dict[str, Sequence[object]] = {
        "every instance completed": [order.id for order in orders if not _is_complete(order)],
        "no acknowledged step lost": sorted({*lost_at_a_kill, *lost(acknowledged, orders)}),
        "no step acknowledged twice": acknowledged_again(acknowledged),
        "no acknowledged step run again": run_again(acknowledged, ledger.taken),
        TWO_OWNERS: run_by_two_owners(ledger, ended),
    }
    return [Check(promise, list(map(str, found))) for promise, found in against.items()]


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
    """Returns the work in the ledger whose owner knew that its step was done.

    It knew if it had acknowledged the step itself, or has claimed the order after that. Without
    that knowledge a step may be run again: after a kill that came before the step was recorded.
    """
    recorded = _first(acknowledged)
    return [
        work
        for work in ledger
        if (first := recorded.get((work.order_id, work.step)))
        and work.receipt != first.receipt
        and work.token >= first.token
    ]


def run_by_two_owners(ledger: Ledger, ended: Collection[int]) -> list[Work]:
    """Returns the work of one owner that overlapped with another's.

    An owner that had not ended may neither find that a later one was before it at the witness, nor
    that another runs the step anew. And whoever ended must not be heard after a later owner.
    """
    found = [work for work in ledger.refused if work.runner not in ended]
    latest: dict[str, Work] = {}
    ran: dict[tuple[str, str], Work] = {}
    for work in ledger.taken:
        before = latest.setdefault(work.order_id, work)
        latest[work.order_id] = work
        other = ran.setdefault((work.order_id, work.step), work)
        ran[work.order_id, work.step] = work
        is_late = work.token < before.token
        is_shared = work.token == before.token and work.runner != before.runner
        is_doubled = work.runner != other.runner and other.runner not in ended
        if is_late or is_shared or is_doubled:
            found.append(work)
    return found


def _first(acknowledged: Sequence[Work]) -> dict[tuple[str, str], Work]:
    return {(work.order_id, work.step): work for work in reversed(acknowledged)}
