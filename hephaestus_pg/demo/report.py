"""Shows how the demo went: its numbers and their meaning, one order's life, and the next steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hephaestus_pg import Status
from hephaestus_pg.cli.terminal import show_table, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus_pg import Instance
    from hephaestus_pg.demo.checks import Check, Work

_NEXT = (
    ("python -m pydoc hephaestus_pg.demo.runner", "the runner, a pattern for one of yours"),
    ("python -m hephaestus_pg demo --runners 2", "the same, with two racing for each order"),
    ("python -m hephaestus_pg migrate up --dsn ...", "makes the table in a database of yours"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The state of things after the last runner ended."""

    orders: Sequence[Instance]
    ledger: Sequence[Work]
    acknowledged: Sequence[Work]
    checks: Sequence[Check]
    kills: int
    refused: int
    """Updates that found that another runner had written first."""
    seconds: float

    @property
    def recorded(self) -> int:
        """Steps that the table has as completed."""
        return sum(len(order.completed_steps) for order in self.orders)

    @property
    def run_again(self) -> int:
        """Runs of a step beyond its first."""
        return len(self.ledger) - len({(work.order_id, work.step) for work in self.ledger})


def show(outcome: Outcome, *, title: str) -> None:
    """Prints the whole report."""
    show_table(title, rows(outcome))
    print()
    for paragraph in meaning(outcome):
        show_text(paragraph)
    order = _most_travelled(outcome.orders)
    print()
    show_text(f"{order.id}, step by step, as its row in the table has it:")
    for line in life(order, outcome.ledger):
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
        ("writes", str(writes)),
        ("writes per second", f"{writes / outcome.seconds:.0f}, at the pace of these orders"),
        ("updates refused", f"{outcome.refused} (another runner had written first)"),
        ("steps recorded in the table", str(outcome.recorded)),
        ("steps acknowledged", str(len(outcome.acknowledged))),
        ("unacknowledged steps run again", str(outcome.run_again)),
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
            f"Run again: {outcome.run_again}. The step's work was done, and its runner was killed "
            "before the update, or another runner's update came first. No storage can prevent "
            "that, so give the work's effect a key, such as the order's id and the step's name, "
            "by which the other side knows it. An acknowledged step must never be run again."
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
            yield f"{line} {entry.event}"
            continue
        before, runner = runner, order.context.steps[step]["runner"]
        line += f" completed by runner {runner}"
        if before not in {None, runner}:
            line += ", which took over from the table"
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
