"""``python -m benchmarks.planning``: what so many instances take, from a measured growth.

::

    python -m benchmarks.planning benchmarks/results/growth/results.json --days 365

What grows with the table is that of the largest one that was measured, multiplied by how many times
its rows there are to be. Beside it stands how many times more it had become with the last ten times
the rows: 10 is what that assumes. Where several results have measured the same, the first one
counts.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.reporting.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Record = dict[str, Any]
    Records = Sequence[Record]

GB, HOUR, DAY, MONTH = 1e9, 3600.0, 86_400.0, 30
FREEZE_MAX_AGE = 200_000_000
"""Transactions after which the server freezes a table by itself (``autovacuum_freeze_max_age``)."""
STATE_INDEX = "idx_workflow_instances_state"
SCALE_FACTOR = 0.2
"""The part of the rows that is dead when autovacuum begins (``autovacuum_vacuum_scale_factor``)."""


@dataclass(frozen=True)
class Plan:
    """Instances that are kept for so many days, each updated so often before it is finished."""

    instances: int
    days: float
    updates: int
    profile: str

    @property
    def arrivals(self) -> float:
        """Instances that arrive a second; as many are pruned."""
        return self.instances / self.days / DAY


class Line(NamedTuple):
    """A figure, and how many times more it became with the last ten times the rows, if it did."""

    name: str
    value: float
    unit: str
    grown: float | None = None


def plan_lines(records: Records, plan: Plan) -> Iterator[Line]:
    """The figures of a plan, from the records of growths."""
    records = _first_of_each(records)
    yield Line("instances that arrive", plan.arrivals, "/s")
    yield Line("writes, prunes included", plan.arrivals * (plan.updates + 3), "/s")
    total = 0.0
    for line in _sizes(records, plan):
        total += line.value
        yield line
    yield Line("all of it", total, "GB")
    yield from _of_writes(records, plan)
    yield from _of_upkeep(records, plan)


def _sizes(records: Records, plan: Plan) -> Iterator[Line]:
    chosen = _chosen(records, "bytes", profile=plan.profile)
    yield _scaled("heap", chosen, "GB", GB, plan, "heap")
    for index in _of_profile(chosen, "indexes", plan):
        found = [each for each in chosen if index in each["indexes"]]
        yield _scaled(index, found, "GB", GB, plan, "indexes", index)


def _of_writes(records: Records, plan: Plan) -> Iterator[Line]:
    """WAL and transactions: those of an instance's life do not grow with the table."""
    wal = _chosen(records, "wal", profile=plan.profile)
    last = {each["operation"]: each for each in wal if each["rows"] == wal[-1]["rows"]}
    pruned = _chosen(records, "prune", profile=plan.profile)[-1]
    life = [last["insert"], *[last["update again"]] * plan.updates, last["finish"], pruned]
    changes, images, transactions = (
        sum(each[name] for each in life) for name in ("wal", "images", "transactions")
    )
    a_month = plan.arrivals * DAY * MONTH / GB
    yield Line("WAL of an instance's life", changes, "bytes")
    yield Line("images of pages in it, at the most", images, "bytes")
    yield Line("WAL a month", changes * a_month, "GB")
    yield Line("with images, at the most", (changes + images) * a_month, "GB")
    days = FREEZE_MAX_AGE / (transactions * plan.arrivals * DAY)
    yield Line("freezes are forced each", days, "days")


def _of_upkeep(records: Records, plan: Plan) -> Iterator[Line]:
    prunes, vacuums, dumps = (
        _chosen(records, part, **wanted)
        for part, wanted in (
            ("prune", {"profile": plan.profile}),
            ("vacuum", {"profile": plan.profile}),
            ("dump", {}),
        )
    )
    a_day = plan.arrivals * DAY
    yield Line("prune of a day, at the rate measured", a_day / prunes[-1]["throughput"] / HOUR, "h")
    dead = SCALE_FACTOR * plan.instances
    yield Line("dead rows when autovacuum begins, by default", dead, "rows")
    for name, chosen, figure in (
        ("vacuum", vacuums, "seconds"),
        ("pauses of autovacuum in it, by default", vacuums, "paused"),
        ("freeze", _chosen(records, "freeze"), "seconds"),
        ("dump", dumps, "dump"),
    ):
        yield _scaled(name, chosen, "h", HOUR, plan, figure)
    if restored := [each for each in dumps if "restore" in each]:
        yield _scaled("restore", restored, "h", HOUR, plan, "restore")
    fills = _chosen(records, "fill")
    for index in _of_profile(fills, "built", plan)[:3]:
        found = [each for each in fills if index in each["built"]]
        yield _scaled(f"build of {index}", found, "h", HOUR, plan, "built", index)


def _of_profile(chosen: Records, figure: str, plan: Plan) -> list[str]:
    """The indexes that there are in that profile, those with the most of that figure first."""
    most = {name: each for record in chosen for name, each in record[figure].items()}
    if plan.profile == "none":
        most.pop(STATE_INDEX, None)
    return sorted(most, key=lambda name: -most[name])


def _chosen(records: Records, part: str, **wanted: Any) -> Records:
    """The records of that part with these values, those of the largest table last."""
    wanted["part"] = part
    found = sorted(
        (each for each in records if wanted.items() <= each.items()), key=lambda each: each["rows"]
    )
    if not found:
        of = f" --profiles {wanted['profile']}" if "profile" in wanted else ""
        raise SystemExit(f"there is no {part} in these results: give those of --only growth{of}")
    return found


def _first_of_each(records: Records) -> Records:
    """One record of each measurement, of the first results that have it."""
    names = ("rows", "profile", "part", "operation", "callers")
    found: dict[tuple[Any, ...], Record] = {}
    for each in records:
        found.setdefault(tuple(each.get(name) for name in names), each)
    return [*found.values()]


def _scaled(name: str, chosen: Records, unit: str, divisor: float, plan: Plan, *path: str) -> Line:
    figures: dict[int, Any] = {each["rows"]: reduce(getitem, path, each) for each in chosen}
    rows = max(figures)
    before = figures.get(rows // 10)
    grown = figures[rows] / before if before else None
    return Line(name, figures[rows] / divisor * plan.instances / rows, unit, grown)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2g}"


def main() -> None:
    """Prints the plan as a table of Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planning",
        description="Tell what so many instances take, from a measured growth.",
    )
    parser.add_argument(
        "results", type=Path, nargs="+", help="results.json of --only growth, of all sizes"
    )
    parser.add_argument("--instances", type=int, default=1_000_000_000, help="that are kept")
    parser.add_argument("--days", type=float, default=90, help="for which each is kept")
    parser.add_argument("--updates", type=int, default=3, help="between insert and finish")
    parser.add_argument(
        "--profile", choices=("full", "none"), default="none", help="the index over states"
    )
    given = parser.parse_args()
    records = [
        each
        for results in given.results
        for each in json.loads(results.read_text(encoding="utf-8"))["records"]
        if each["scenario"] == "growth"
    ]
    plan = Plan(given.instances, given.days, given.updates, given.profile)
    print(
        table(
            ("", "with", "", "ten times the rows"),
            [
                (
                    line.name,
                    _short(line.value),
                    line.unit,
                    f"x {line.grown:.1f}" if line.grown else "",
                )
                for line in plan_lines(records, plan)
            ],
        )
    )


if __name__ == "__main__":
    main()
