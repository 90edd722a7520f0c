"""The table of the scenario ``citus``."""

from __future__ import annotations

from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.reporting import texts
from benchmarks.reporting.tables import ratio, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Records = Sequence[dict[str, Any]]


def citus(records: Records) -> str:
    """A line for each table, operation and number of callers: medians, and of ratios in a round."""
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    for each in records:
        key = each["operation"], each["callers"], each["contender"], each["way"]
        found.setdefault(key, {})[each["round"]] = each["throughput"]
    lines: list[tuple[Any, ...]] = []
    for (operation, callers, name, way), rounds in found.items():
        if way != "gathered":
            continue
        single = found.get((operation, callers, name, "batching=False"))
        plain = "plain" + name[name.index(",") :] if "tenants" in name else "plain"
        lines.append(
            (
                operation,
                callers,
                name,
                f"{median(rounds.values()):,.0f}",
                _ratio(rounds, single),
                _ratio(rounds, found.get((operation, callers, plain, way))),
            )
        )
    head = ("", "callers", "table", "instances/s", "x batching=False", "x plain")
    return f"{texts.CITUS.strip()}\n\n{table(head, sorted(lines, key=itemgetter(0, 1)))}"


def _ratio(rounds: dict[int, float], base: dict[int, float] | None) -> str:
    if base is None or base is rounds:
        return ""
    return ratio(median(rounds[number] / base[number] for number in rounds))
