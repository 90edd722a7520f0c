"""Shows how the demo went: its numbers and their meaning, one order's life, and the next steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hephaestus_pg import Status
from hephaestus_pg.cli.terminal import show_table, show_text
from hephaestus_pg.demo.checks import TWO_OWNERS, Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus_pg import Instance
    from hephaestus_pg.demo.witness import Ledger, Work

_NEXT = (
    ("python -m pydoc hephaestus_pg.demo.runner", "the runner, a pattern for one of yours"),
    ("python -m hephaestus_pg demo --runners 8 --kills 9 --freezes 6", "more of everything"),
    ("python -m hephaestus_pg migrate up --dsn ...", "makes the table in a database of yours"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The state of things after the last runner ended."""

    orders: Sequence[Instance]
    ledger: Ledger
    acknowledged: Sequence[Work]
    checks: Sequence[Check]
    kills: int
    freezes: int
    expired: int
    """Runners whose lease ended though nobody froze them."""
    waits: Sequence[float]
    """Seconds that each order of a killed or frozen runner waited for its new owner."""
    lease: float
    seconds: float

    @property
    def recorded(self) -> int:
        """Steps that the table has as completed."""
        return sum(len(order.completed_steps) for order in self.orders)

    @property
    def run_again(self) -> int:
        """Runs of a step beyond its first."""
        taken = self.ledger.taken
        return len(taken) - len({(work.order_id, work.step) for work in taken})

    @property
    def run_by_two_owners(self) -> int:
        """Steps that had two owners at once, as the witness has it."""
        return sum(len(check.against) for check in self.checks if check.promise == TWO_OWNERS)


def show(outcome: Outcome, *, title: str) -> None:
    """Prints the whole report."""
    show_table(title, rows(outcome))
    print()
    for paragraph in meaning(outcome):
        show_text(paragraph)
    order = _most_travelled(outcome.orders)
    print()
    show_text(f"{order.id}, step by step, as its row in the table has it:")
    for line in life(order, outcome.ledger.taken):
        show_text(line, indent="  ", hanging=" " * 16)
    print("\nWhat next:")
    for command, purpose in _NEXT:
        print(f"  {command}")  # in one line, to be copied
        show_text(purpose, indent="    ")


def rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Returns the table's labels and values; the promises come last."""
    statuses = Counter(order.status for order in outcome.orders)
    # An insert, and an update for each entry of the history.
    writes = sum(1 + len(order.execution_history) for order in outcome.orders)
    return [
        *((f"orders {status}", str(statuses[status])) for status in Status if statuses[status]),
        ("runners killed", str(outcome.kills)),
        ("runners frozen past their lease", str(outcome.freezes)),
        ("runners too slow for their lease", str(outcome.expired)),
        ("orders taken over", str(len(outcome.waits))),
        (
            "longest wait for a new owner",
            f"{max(outcome.waits, default=0):.1f} s, with a lease of {outcome.lease:g} s",
        ),
        ("writes", str(writes)),
        ("writes per second", f"{writes / outcome.seconds:.0f}, at the pace of these orders"),
        ("steps recorded in the table", str(outcome.recorded)),
        ("steps acknowledged", str(len(outcome.acknowledged))),
        ("unacknowledged steps run again", str(outcome.run_again)),
        ("effects that the witness took", str(len(outcome.ledger.taken))),
        ("effects that it refused as too late", str(len(outcome.ledger.refused))),
        ("steps run by two owners at once", str(outcome.run_by_two_owners)),
        *((check.promise, _answer(check.against)) for check in outcome.checks),
    ]


def meaning(outcome: Outcome) -> Iterator[str]:
    """Explains the numbers that could be read as contradicting each other, a paragraph each."""
    yield (
        "A step is recorded by an update of its order's row, and acknowledged once that update has "
        "returned to the runner."
    )
    acknowledged = {(work.order_id, work.step) for work in outcome.acknowledged}
    if unheard := outcome.recorded - len(acknowledged):
        yield (
            f"Recorded, not acknowledged: {unheard}. The update was committed, and the runner was "
            "killed before it heard so. The next runner finds the step in the table and leaves it "
            "alone."
        )
    if outcome.run_again:
        yield (
            f"Run again: {outcome.run_again}. The step had its effect, and its runner was killed "
            "or frozen before the update. No storage can prevent that, so give the effect a key, "
            "such as the order's id and the step's name, by which the other side knows it. An "
            "acknowledged step must never be run again."
        )
    if outcome.waits:
        yield (
            "A runner that was killed keeps its orders until its lease ends; then the others, who "
            "look each second, take them over. One that was frozen is dead when it goes on: its "
            "updates would be refused. Its effects carry its claim's token, and a table that knows "
            "no library refuses a token lesser than one that it has seen for the order."
        )


def life(order: Instance, ledger: Sequence[Work]) -> Iterator[str]:
    """Tells an order's history, a line for each entry."""
    runs = Counter(work.step for work in ledger if work.order_id == order.id)
    runner = None
    if order.inserted_at:
        yield f"{order.inserted_at:%H:%M:%S}      inserted"
    for entry in order.execution_history:
        step = str(entry.step_ref).rpartition(".")[2]
        line = f"{entry.timestamp:%H:%M:%S}.{entry.timestamp.microsecond // 1000:03}  {step}"
        if entry.event != "completed":
            yield f"{line}: {entry.event}"
            continue
        before, runner = runner, order.context.steps[step]["runner"]
        line += f" completed by runner {runner}"
        if before not in {None, runner}:
            line += ", which went on from the table"
        if runs[step] > 1:
            line += f" (run {runs[step]} times, recorded once)"
        yield line


def _most_travelled(orders: Sequence[Instance]) -> Instance:
    """Returns the order that most runners had a part in."""
    return max(
        orders,
        key=lambda order: (
            len({result["runner"] for result in order.context.steps.values()}),
            len(order.execution_history),
        ),
    )


def _answer(against: list[str]) -> str:
    if not against:
        return "yes"
    return f"no: {len(against)}, such as {'; '.join(against[:3])}"
